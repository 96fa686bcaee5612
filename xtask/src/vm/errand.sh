# The machine's second program, on the host's files: runs the command, passes on how it ended, and
# switches the machine off.
for name in /sys/class/virtio-ports/*/name; do
    device=/dev/$(basename "$(dirname "$name")")
    case $(cat "$name") in
        output) output=$device ;;
        error) error=$device ;;
        status) status=$device ;;
    esac
done
/bin/sh /run/command </dev/null >"$output" 2>"$error"
echo $? >"$status"
echo o >/proc/sysrq-trigger
# It takes a moment; the first program must not end before.
while :; do sleep 1; done

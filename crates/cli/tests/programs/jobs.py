"""What a shell and a terminal see of outcore: jobs.py OUTCORE. Prints what went wrong, and "right" at the end."""
import os
import pty
import signal
import subprocess
import sys
import time

OUTCORE = sys.argv[1]
RUN = [OUTCORE, "run", "--ram", "64M", "--report", "none", "--"]
PATIENCE = 20


def until(condition):
    """What the condition is, once it is something."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return found


def check(is_right, what):
    if not is_right:
        sys.exit(f"wrong: {what}")


def changed(pid):
    """How the child has changed, if it has."""
    found, status = os.waitpid(pid, os.WUNTRACED | os.WNOHANG)
    return (status,) if found else None


def shell():
    """A shell with one job, in the foreground of its terminal, that stops itself."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        os.execv(OUTCORE, RUN + ["sh", "-c", "kill -TSTP $$; exit 7"])
    status = until(lambda: changed(job))
    check(status and os.WIFSTOPPED(status[0]), "a program that stops itself")
    os.killpg(job, signal.SIGCONT)
    status = until(lambda: changed(job))
    check(status and os.waitstatus_to_exitcode(status[0]) == 7, "a program that is continued")
    os._exit(9)


def stops():
    """In a terminal, a program that stops itself has stopped as a job, and goes on when the job does."""
    pid, terminal = pty.fork()
    if pid == 0:
        shell()
    status = until(lambda: changed(pid))
    check(status and os.waitstatus_to_exitcode(status[0]) == 9, "a job of a shell's")
    os.close(terminal)


def is_continued_by_others():
    """Without one, who stops and continues the program alone need not know of outcore."""
    run = subprocess.Popen(RUN + ["sh", "-c", "echo $$; kill -STOP $$; exit 8"], stdout=subprocess.PIPE, start_new_session=True)
    program = int(run.stdout.readline())
    state = lambda: open(f"/proc/{program}/stat").read().rpartition(")")[2].split()[0]
    check(until(lambda: state() == "T"), "a program that stops itself without a terminal")
    time.sleep(0.1)
    os.kill(program, signal.SIGCONT)
    check(run.wait(PATIENCE) == 8, "a program that is continued by its number")


def hangs_up():
    """The end of a terminal ends what leads its session, and so the program."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(OUTCORE, RUN + ["sh", "-c", "echo here; exec sleep 60"])
    check(os.read(terminal, 100).startswith(b"here"), "a program on a terminal")
    os.close(terminal)
    status = until(lambda: changed(pid))
    check(status and os.waitstatus_to_exitcode(status[0]) == 128 + signal.SIGHUP, "a terminal that hangs up")


def interrupts_a_group_of_its_own():
    """A program in another group than outcore does not get what the terminal sends."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(OUTCORE, RUN + [sys.executable, "-c", "import os, time; os.setpgid(0, 0); print('here', flush=True); time.sleep(60)"])
    check(os.read(terminal, 100).startswith(b"here"), "a program in a group of its own")
    os.write(terminal, b"\x03")
    status = until(lambda: changed(pid))
    check(status and os.waitstatus_to_exitcode(status[0]) in (130, 1), "an interrupt from the terminal")
    os.close(terminal)


def has_a_timer():
    """A timer that outcore has from who started it is the program's."""
    run = subprocess.run(["perl", "-e", "alarm 1; exec @ARGV", *RUN, "sleep", "60"], timeout=PATIENCE)
    check(run.returncode == 128 + signal.SIGALRM, "a timer")


def passes_on(number):
    run = subprocess.Popen(RUN + ["sh", "-c", "echo here; exec sleep 60"], stdout=subprocess.PIPE)
    check(run.stdout.readline() == b"here\n", "a program")
    run.send_signal(number)
    check(run.wait(PATIENCE) == 128 + number, f"signal {number}")


# Who started this may have had them ignored (nohup), as programs do then.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
    signal.signal(number, signal.SIG_DFL)
stops()
is_continued_by_others()
hangs_up()
interrupts_a_group_of_its_own()
has_a_timer()
for number in (signal.SIGTERM, signal.SIGABRT, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGPWR, signal.SIGXCPU, signal.SIGRTMIN + 3):
    passes_on(number)
print("right")

#!/bin/busybox sh
# The first program of the virtual machine: makes the host's files its own, and its disk what is
# written to. Ends the machine when something is missing: the kernel then panics, and says so.
set -e
export PATH=/bin
/bin/busybox mkdir -p /proc /sys /dev /host /disk /root
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do insmod "$module"; done </order

mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 host /host
mount -t ext4 -o discard /dev/vda /disk
mkdir /disk/upper /disk/work /disk/tmp
chmod 1777 /disk/tmp
mount -t overlay -o lowerdir=/host,upperdir=/disk/upper,workdir=/disk/work root /root

mount -t proc proc /root/proc
mount -t sysfs sysfs /root/sys
mount -t devtmpfs devtmpfs /root/dev
mkdir -p /root/dev/shm /root/dev/pts
mount -t tmpfs -o mode=1777 shm /root/dev/shm
mount -t devpts devpts /root/dev/pts
mount -t tmpfs -o mode=755 run /root/run
mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
# Swap files and files without names are to be on a plain file system.
mount --bind /disk/tmp /root/var/tmp
ip link set lo up
cp /errand /command /root/run
exec switch_root /root /bin/sh /run/errand

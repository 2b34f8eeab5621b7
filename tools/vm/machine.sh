# SPDX-License-Identifier: BSD-2-Clause
# What the virtual machine is made of: the PCI addresses of its devices and QEMU's arguments.
# Sourced by `run`, from whose options and files it takes what varies.
#
# The devices sit at fixed places. Two of them share a group, since nothing keeps them apart before
# the IOMMU: behind a bridge from PCI Express to PCI they have one requester id; virtio-iommu knows
# no such bridge, so there they are two functions of one device.
machine_nvme0=0000:00:04.0
machine_nvme1=0000:00:05.0
machine_edu=0000:00:06.0

# machine_addresses: prints the shell assignments by which CMD knows the devices.
machine_addresses()
{
	local a=0000:01:01.0 b=0000:01:02.0

	if [ "$iommu" = virtio ]; then
		a=0000:00:07.0
		b=0000:00:07.1
	fi
	cat <<END
export DRAY_VM=1
export DRAY_VM_NVME0=$machine_nvme0
export DRAY_VM_NVME1=$machine_nvme1
export DRAY_VM_EDU=$machine_edu
export DRAY_VM_GROUP_A=$a
export DRAY_VM_GROUP_B=$b
END
}

# machine_serial NAME: adds a serial line that writes into the file or pipe NAME of the run. The
# guest has them as ttyS0 and so on in this order.
machine_serial()
{
	arguments+=(-chardev "file,id=$1,path=$run/$1" -serial "chardev:$1")
}

# machine_nvme NUMBER ADDRESS IMAGE: adds a controller. A comma in an option's value is doubled.
machine_nvme()
{
	arguments+=(-drive "file=${3//,/,,},if=none,id=disk$1,format=raw,cache=unsafe"
		-device "nvme,serial=dray-$1,drive=disk$1,addr=${2#0000:00:}")
}

# machine_arguments: sets the array `arguments` to those of QEMU.
machine_arguments()
{
	arguments=(-nodefaults -no-user-config -display none -no-reboot -monitor none
		-m "${megabytes}M" -kernel "$kernel/vmlinux" -initrd "$run/initrd")
	case $count-$accel in
	yes-*)
		arguments+=(-machine q35 -cpu max -smp 1 -accel "tcg,thread=single"
			-icount "shift=0,sleep=off")
		;;
	no-kvm)
		# Interrupt remapping needs the interrupt controller in QEMU, not in the host.
		arguments+=(-machine "q35,kernel-irqchip=split" -cpu host -smp 2 -accel kvm)
		;;
	no-tcg)
		arguments+=(-machine q35 -cpu max -smp 2 -accel "tcg,thread=multi")
		;;
	esac

	machine_serial console
	machine_serial out
	machine_serial err
	machine_serial control

	if [ "$iommu" = intel ]; then
		arguments+=(-device "intel-iommu,intremap=on,caching-mode=on,aw-bits=48"
			-device "pcie-pci-bridge,id=bridge,addr=07.0"
			-device "edu,bus=bridge,addr=1" -device "edu,bus=bridge,addr=2")
	else
		arguments+=(-device "virtio-iommu-pci,addr=03.0"
			-device "edu,addr=07.0,multifunction=on" -device "edu,addr=07.1")
	fi
	machine_nvme 0 $machine_nvme0 "${disk:-$run/nvme0}"
	machine_nvme 1 $machine_nvme1 "$run/nvme1"
	arguments+=(-device "edu,addr=${machine_edu#0000:00:}")

	[ -z "$trace" ] || arguments+=(-D "$trace" -trace vtd_dmar_fault
		-trace virtio_iommu_report_fault)
	# A serial line carries about 1 MB/s, too little for files; a virtio port 100 MB/s.
	[ ${#copies[@]} -eq 0 ] || arguments+=(-device "virtio-serial-pci,addr=08.0"
		-chardev "file,id=copy-out,path=$run/copy-out.tar"
		-device "virtserialport,chardev=copy-out,name=copy-out")

	# nvme is built into the kernel; not starting it spares probing controllers that vfio-pci
	# takes anyway. Security modules other than capabilities only add to the boot. The self
	# tests of the crypto code would take half a CPU for seconds while CMD already runs. The
	# kernel expects ten ticks of a timer it is about to use within a stretch of its own time, and
	# panics without them: where the host takes the CPU away they come late, not never.
	arguments+=(-append "console=ttyS0 quiet panic=-1 intel_iommu=on iommu=nopt lsm=capability \
cryptomgr.notests no_timer_check initcall_blacklist=nvme_init")
}

/** xen:public/physdev.h: physical devices, as a domain without any sees them, and a PV vCPU's I/O privilege. */
import { hypercall, op, refused } from './hypercall.ts';
import { out, struct } from './struct.ts';
import { i32, ptr, u8, u16, u32, u64, void_ } from './types.ts';
import { domid_t, xen_pfn_t } from './xen.ts';

export const physdev_irq_status_query = struct('physdev_irq_status_query', { irq: u32, flags: out(u32) });
export const physdev_map_pirq = struct('physdev_map_pirq', {
  domid: domid_t,
  type: i32,
  index: i32,
  pirq: i32,
  bus: i32,
  devfn: i32,
  entry_nr: i32,
  table_base: u64,
});
export const physdev_unmap_pirq = struct('physdev_unmap_pirq', { domid: domid_t, pirq: i32 });
export const physdev_set_iopl = struct('physdev_set_iopl', { iopl: u32 });
export const physdev_set_iobitmap = struct('physdev_set_iobitmap', { bitmap: ptr(u8), nr_ports: u32 });
export const physdev_pirq_eoi_gmfn = struct('physdev_pirq_eoi_gmfn', { gmfn: xen_pfn_t });
export const physdev_manage_pci_ext = struct('physdev_manage_pci_ext', { bus: u8, devfn: u8, is_extfn: u32, is_virtfn: u32, physfn: u16 });
export const physdev_manage_pci = struct('physdev_manage_pci', { bus: u8, devfn: u8 });
export const physdev_pci_device = struct('physdev_pci_device', { seg: u16, bus: u8, devfn: u8 });
export const physdev_setup_gsi = struct('physdev_setup_gsi', { gsi: i32, triggering: u8, polarity: u8 });
export const physdev_get_free_pirq = struct('physdev_get_free_pirq', { type: i32, pirq: out(u32) });

// biome-ignore format: one op a line
export const physdev_op = hypercall('physdev_op', 33, { pv64: true }, { cmd: i32, arg: ptr(void_) }, {
  irq_unmask_notify:  op(4, null, 'Old name of eoi; nothing to do.'),
  irq_status_query:   op(5, physdev_irq_status_query, 'Whether an interrupt needs eoi.', ['EINVAL']),
  set_iopl:           op(6, physdev_set_iopl, 'The vCPU\'s virtual IOPL.', ['EINVAL']),
  set_iobitmap:       op(7, physdev_set_iobitmap, 'The vCPU\'s I/O permission bitmap.', ['EINVAL']),
  apic_read:          refused(8, 'EPERM', 'Read an I/O APIC.', { reads: 16 }),
  apic_write:         refused(9, 'EPERM', 'Write an I/O APIC.', { reads: 16 }),
  alloc_irq_vector:   refused(10, 'EPERM', 'Old way to route an interrupt.', { reads: 8 }),
  eoi:                refused(12, 'EINVAL', 'End of a physical interrupt.', { reads: 4 }),
  map_pirq:           op(13, physdev_map_pirq, 'Make a physical interrupt bindable.', ['EINVAL', 'EPERM', 'ESRCH']),
  unmap_pirq:         op(14, physdev_unmap_pirq, 'Undo map_pirq.', ['EPERM', 'ESRCH']),
  manage_pci_add:     refused(15, 'EPERM', 'Report a PCI device.', { reads: 2 }),
  manage_pci_remove:  refused(16, 'EPERM', 'Report a removed one.', { reads: 2 }),
  pirq_eoi_gmfn_v1:   op(17, physdev_pirq_eoi_gmfn, 'A page where ring -1 marks interrupts that need eoi.', ['EBUSY', 'EINVAL']),
  restore_msi:        op(19, physdev_manage_pci, 'Program MSIs again.', ['ENODEV', 'EPERM']),
  manage_pci_add_ext: op(20, physdev_manage_pci_ext, 'Report a PCI device.', ['EINVAL', 'EPERM']),
  setup_gsi:          op(21, physdev_setup_gsi, 'Trigger and polarity of a GSI.', ['EINVAL', 'EPERM']),
  get_free_pirq:      op(23, physdev_get_free_pirq, 'An unused interrupt number.', ['ENOSPC']),
  pci_mmcfg_reserved: refused(24, 'EPERM', 'Confirm an MMCONFIG area.'),
  pci_device_add:     refused(25, 'EPERM', 'Report a PCI device.', { reads: 16 }),
  pci_device_remove:  refused(26, 'EPERM', 'Report a removed one.', { reads: 4 }),
  restore_msi_ext:    op(27, physdev_pci_device, 'Program MSIs again.', ['ENODEV', 'EPERM']),
  pirq_eoi_gmfn_v2:   op(28, physdev_pirq_eoi_gmfn, 'As v1, and unmasking an event needs no eoi call.', ['EBUSY', 'EINVAL']),
  dbgp_op:            refused(29, 'EPERM', 'EHCI debug port.'),
  prepare_msix:       refused(30, 'EPERM', 'Protect MSI-X tables.', { reads: 4 }),
  release_msix:       refused(31, 'EPERM', 'Release them.', { reads: 4 }),
});

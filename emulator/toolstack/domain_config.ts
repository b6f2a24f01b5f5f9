import type { DomainDescription } from './host_keys.ts';

/** A domain's configuration as xl shows it; libxl's names, what it has for other kinds of guests left out. */
export function configOf(description: DomainDescription): Record<'c_info' | 'b_info', object> {
  const { type, name, ramdisk, cmdline, disk, vif, maxmem, memory, vcpus, maxvcpus, weight, cap, kernel } = description;
  const { on_poweroff, on_reboot, on_crash, on_watchdog } = description;
  return {
    c_info: { type, name },
    b_info: {
      max_vcpus: maxvcpus ?? vcpus,
      avail_vcpus: Array.from({ length: vcpus }, (_, id) => id),
      max_memkb: (maxmem ?? memory) / 1024,
      target_memkb: memory / 1024,
      video_memkb: 0,
      sched_params: { sched: 'credit2', weight, cap },
      kernel,
      ...(ramdisk !== undefined && { ramdisk }),
      ...(cmdline !== '' && { cmdline }),
    },
    ...(disk.length > 0 && {
      disks: disk.map(({ path, name, isReadonly }) => ({ pdev_path: path, vdev: name, readwrite: isReadonly ? 0 : 1 })),
    }),
    ...(vif.length > 0 && { nics: vif.map(({ mac, bridge }, devid) => ({ devid, ...(mac && { mac }), bridge, nictype: 'vif' })) }),
    ...{ on_poweroff, on_reboot, on_watchdog, on_crash },
  };
}

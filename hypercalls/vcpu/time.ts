/**
 * How a guest knows the time: vcpu_time_info turns its TSC into nanoseconds of system time, the wall clock in shared_info
 * says what time it was at system time 0 (xen:public/xen.h, xen:arch/x86/time.c). Both carry a version that is odd while
 * they are written.
 */
import type { Domain } from '../../emulator/domain.ts';
import { guestNs } from '../../emulator/guest_time.ts';
import type { Host } from '../../emulator/host.ts';
import { PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { defineSlot } from '../../emulator/slot.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import { shared_info, vcpu_info, vcpu_time_info } from '../abi/xen.ts';
import { copyToGuest } from '../guest_memory.ts';
import { writeArea } from './area.ts';

interface TimeState {
  /** System time of the last record in nanoseconds; the scale is only so exact, so a record serves for a second. */
  writtenAt: number;
  /** Where VCPUOP_register_vcpu_time_memory_area wants a copy; 0n: nowhere. */
  area: bigint;
}

const RECORD_LIFETIME = 1_000_000_000;
const timeState = defineSlot<Vcpu, TimeState>(() => ({ writtenAt: -RECORD_LIFETIME, area: 0n }), {
  name: 'vcpu.time',
  save: ({ writtenAt, area }) => ({ writtenAt: BigInt(writtenAt), area }),
  load(saved) {
    const { writtenAt, area } = saved as { writtenAt: bigint; area: bigint };
    return { writtenAt: Number(writtenAt), area };
  },
});

/** The multiplier and shift with which ns = ((tsc << shift) * mul) >> 32. */
export function tscScale(tscKhz: number): { mul: number; shift: number } {
  let hz = BigInt(tscKhz) * 1000n;
  let shift = 0;
  while (hz > 2_000_000_000n) {
    hz >>= 1n;
    shift--;
  }
  while (hz <= 1_000_000_000n) {
    hz <<= 1n;
    shift++;
  }
  return { mul: Number((1_000_000_000n << 32n) / hz), shift };
}

/** As the vCPU goes on a core, `ns` into its domain's time: renews its time record when that has grown old. */
export function updateTimeInfo(host: Host, vcpu: Vcpu, ns: number): void {
  if (ns - timeState.of(vcpu).writtenAt >= RECORD_LIFETIME) writeTimeInfo(host, vcpu);
}

/** Renews the vCPU's time record. */
export function writeTimeInfo(host: Host, vcpu: Vcpu): void {
  const now = guestNs(host, vcpu.domain);
  timeState.of(vcpu).writtenAt = now;
  const { mul, shift } = tscScale(host.clock.tscKhz);
  const { view } = host.memory;
  const maddr = vcpu.vcpuInfoMaddr + vcpu_info.offset.time;
  vcpu_time_info.write(view, maddr, {
    version: (view.getUint32(maddr, true) | 1) + 1,
    tsc_timestamp: BigInt(host.clock.tscAt(now)),
    system_time: BigInt(now),
    tsc_to_system_mul: mul,
    tsc_shift: shift,
    flags: 0,
  });
  host.memory.written(maddr, vcpu_time_info.size);
  copyTimeInfo(host, vcpu);
}

/** Where the guest wants a copy of the record from now on. */
export function setTimeArea(host: Host, vcpu: Vcpu, vaddr: bigint): void {
  timeState.of(vcpu).area = vaddr;
  writeTimeInfo(host, vcpu);
}

/** Of another vCPU than the caller through the caller's page tables, which are those that are loaded. */
function copyTimeInfo(host: Host, vcpu: Vcpu): void {
  const { area } = timeState.of(vcpu);
  if (area === 0n) return;
  const maddr = vcpu.vcpuInfoMaddr + vcpu_info.offset.time;
  const record = host.memory.bytes.slice(maddr, maddr + vcpu_time_info.size);
  if (vcpu === host.current) writeArea(host, vcpu, area, record);
  else copyToGuest(host, area, record);
}

/** Writes the wall clock: once when the domain is built, and whenever somebody sets the clock. */
export function writeWallClock(host: Host, domain: Domain): void {
  const { view } = host.memory;
  const base = domain.sharedInfoMfn * PAGE_SIZE;
  const { wc_version, wc_sec, wc_nsec, wc_sec_hi } = shared_info.offset;
  const seconds = host.clock.wallClockAtStart / 1_000_000_000n;
  view.setUint32(base + wc_sec, Number(seconds & 0xffff_ffffn), true);
  view.setUint32(base + wc_nsec, Number(host.clock.wallClockAtStart % 1_000_000_000n), true);
  view.setUint32(base + wc_sec_hi, Number(seconds >> 32n), true);
  view.setUint32(base + wc_version, (view.getUint32(base + wc_version, true) | 1) + 1, true);
  host.memory.written(base + wc_version, 16);
}

/** A built PV64 domain is what its kernel expects at the first instruction, and its books add up. */
import { existsSync, readFileSync } from 'node:fs';
import t from 'tap';
import { GDT_VIRT_START } from '../../emulator/memory/address_space.ts';
import { releaseDomainMemory } from '../../emulator/memory/domain_release.ts';
import { checkInvariants } from '../../emulator/memory/invariants.ts';
import { start_info } from '../../firmware/start_info.ts';
import { DEFAULT_VIRT_BASE, makeImage, usualNotes } from '../support/elf_image.ts';
import { PvHost } from '../support/pv_host.ts';

const text = (bytes: readonly number[]) => String.fromCharCode(...bytes.slice(0, bytes.indexOf(0)));
const startInfoOf = (machine: PvHost) => start_info.read(machine.memory.view, machine.boot.startInfoMfn * 4096);

t.test('start_info, shared_info and registers of a domU', async (t) => {
  const ramdisk = new Uint8Array(5000).fill(0x5a);
  const machine = new PvHost({ build: { cmdline: 'console=hvc0 ä', ramdisk, xenstorePort: 1, consolePort: 2 } });
  const info = startInfoOf(machine);
  t.equal(text(info.magic), 'xen-3.0-x86_64');
  t.equal(info.nr_pages, 2048n);
  t.equal(info.flags, 0);
  t.equal(info.shared_info, BigInt(machine.boot.sharedInfoMfn) << 12n, 'shared_info by machine address');
  t.same([info.store_mfn, info.store_evtchn], [BigInt(machine.boot.xenstoreMfn), 1]);
  t.same([info.console_mfn, info.console_evtchn], [BigInt(machine.boot.consoleMfn), 2]);
  t.equal(machine.p2m[Number((info.pt_base - DEFAULT_VIRT_BASE) >> 12n)], machine.boot.l4Mfn, 'pt_base names the L4');
  t.equal(info.nr_pt_frames, 5n);
  t.equal(Buffer.from(info.cmd_line).toString('utf8').replace(/\0.*/, ''), 'console=hvc0 ä');
  t.equal(info.mod_len, 5000n);
  const at = machine.cpu.translate(info.mod_start + 4999n, 'read', true);
  t.ok(at.ok && machine.memory.bytes[at.maddr] === 0x5a, 'the ramdisk is mapped');
  for (const pfn of [0, 1, 2047]) {
    const list = machine.cpu.translate(info.mfn_list + BigInt(pfn * 8), 'read', true);
    t.ok(list.ok && machine.memory.view.getBigUint64(list.maddr, true) === BigInt(machine.p2m[pfn]!), `p2m list of pfn ${pfn}`);
  }
  const shared = machine.boot.sharedInfoMfn * 4096;
  t.same([machine.memory.bytes[shared + 1], machine.memory.bytes[shared + 31 * 64 + 1]], [1, 1], 'events are masked on all 32 vCPUs');
  t.equal(machine.vcpu.vcpuInfoMaddr, shared);
  const { cpu } = machine;
  t.equal(cpu.gpr[6], machine.boot.rsi, 'RSI is start_info');
  t.equal(cpu.rip, DEFAULT_VIRT_BASE + 0x10_0000n);
  t.same([cpu.getSegment('cs').selector, cpu.getSegment('ss').selector, cpu.getSegment('ds').selector], [0xe033, 0xe02b, 0]);
  t.equal(cpu.cpl, 3);
});

t.test('its address space', async (t) => {
  const machine = new PvHost();
  const { boot, memory } = machine;
  t.equal(machine.access(boot.rip), 'write', 'the kernel is writable');
  t.equal(machine.access(boot.rsi), 'write', 'so is start_info');
  t.equal(machine.access(boot.rsp - 8n), 'write', 'and the boot stack');
  t.equal(machine.access(boot.rsp + 0x8_0000n - 1n), 'write', 'with 512 KiB behind it');
  t.equal(machine.access(startInfoOf(machine).pt_base), 'read', 'page tables are read-only');
  t.equal(machine.access(DEFAULT_VIRT_BASE + (4n << 20n)), 'no', 'the mapping ends at a border of 4 MiB');
  const m2p = 0xffff_8000_0000_0000n;
  t.equal(machine.access(m2p), 'read', 'the m2p is read-only');
  for (const pfn of [0, 700]) {
    const entry = machine.cpu.translate(m2p + BigInt(machine.p2m[pfn]! * 8), 'read', true);
    t.ok(entry.ok && memory.view.getBigUint64(entry.maddr, true) === BigInt(pfn), `m2p of pfn ${pfn}`);
  }
  t.equal(machine.access(m2p + 0x1f_fff8n), 'read', 'the m2p ends on a border of 2 MiB');
  t.equal(machine.access(m2p + 0x20_0000n), 'no');
  t.equal(machine.access(GDT_VIRT_START(0)), 'no', "the GDT is the supervisor's");
  t.equal(machine.access(0xffff_8300_0000_0000n), 'no', "so is ring -1's map of all memory");
  const descriptor = machine.cpu.translate(GDT_VIRT_START(0) + 0xe030n, 'read', false);
  t.ok(descriptor.ok && memory.view.getBigUint64(descriptor.maddr, true) === 0x00af_fb00_0000_ffffn, 'FLAT_RING3_CS64 is there');
  t.equal(checkInvariants(memory), undefined, 'all references are accounted for');
});

t.test('the initial domain', async (t) => {
  const machine = new PvHost({ isInitial: true, build: { cmdline: 'x' } });
  const info = startInfoOf(machine);
  t.equal(info.flags, 0x303, 'SIF_PRIVILEGED | SIF_INITDOMAIN, and power management');
  t.same(
    [info.store_mfn, info.store_evtchn, info.console_mfn, info.console_evtchn],
    [0n, 0, 0x28_0000_0490n, 0],
    'no rings, but a place for a screen',
  );
  t.equal(checkInvariants(machine.memory), undefined);
});

t.test('MOD_START_PFN and INIT_P2M keep ramdisk and p2m list out of the mapping', async (t) => {
  for (const isInitial of [false, true]) {
    const notes: [number, bigint | string][] = [...usualNotes(), [15, 0x80_0000_0000n], [16, 1n], [2, DEFAULT_VIRT_BASE + 0x10_1000n]];
    const machine = new PvHost({ isInitial, image: makeImage({ notes }), build: { ramdisk: new Uint8Array(9000).fill(7) } });
    const info = startInfoOf(machine);
    t.equal(info.flags & 8, 8, 'SIF_MOD_START_PFN');
    t.equal(machine.peek(Number(info.mod_start), 0), 0x0707_0707_0707_0707n, 'mod_start is a pfn');
    t.equal(info.mfn_list, 0x80_0000_0000n);
    t.equal(machine.access(info.mfn_list), 'write', 'the p2m list is mapped at INIT_P2M');
    t.equal(info.nr_p2m_frames, 7n, '4 pages of list, 3 of tables');
    const page = machine.cpu.translate(DEFAULT_VIRT_BASE + 0x10_1000n + 17n * 32n, 'read', true);
    const slot = page.ok ? [...machine.memory.bytes.subarray(page.maddr, page.maddr + 14)] : [];
    t.same(slot, [0x51, 0x41, 0x53, 0xb8, 17, 0, 0, 0, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3], 'the hypercall page is filled');
    t.equal(checkInvariants(machine.memory), undefined);
  }
});

t.test('a domain that is gone leaves every frame behind', async (t) => {
  const machine = new PvHost({ others: 1 });
  const { memory, domains } = machine;
  for (const domain of domains) releaseDomainMemory(memory, domain);
  t.equal(checkInvariants(memory), undefined);
  for (const domain of domains) {
    t.equal(memory.pageCount(domain.id), 0);
    t.notOk(memory.owner.includes(domain.id), `no frame is domain ${domain.id}'s`);
  }
});

const grub = '/usr/lib/grub-xen/grub-x86_64-xen.bin';
t.test("Debian's GRUB", { skip: existsSync(grub) ? false : 'grub-xen-host is not installed' }, async (t) => {
  const machine = new PvHost({ memoryPages: 8192, image: readFileSync(grub) });
  t.equal(machine.boot.rip, 0n, 'starts at address 0');
  t.equal(machine.access(0n), 'write');
  t.equal(machine.boot.image.notes.hypercallPage, undefined, 'and wants no hypercall page');
  t.equal(checkInvariants(machine.memory), undefined);
});

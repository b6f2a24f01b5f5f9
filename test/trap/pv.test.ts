/** What a PV64 guest gets for each exit: bounce frames, callbacks, hypercall iret, emulated instructions, as Xen 4.17 does it. */
import t from 'tap';
import { R11, RAX, RBX, RCX, RDI, RDX, RSI, RSP } from '../../emulator/cpu/interface.ts';
import { cpuid } from '../../emulator/trap/cpuid.ts';
import { reloadSegments } from '../../emulator/trap/return.ts';
import { TrapBench } from '../support/trap_bench.ts';

const bench = new TrapBench();
const { cpu, pv, code, stack, kernelStack } = bench;
const HANDLER = code + 0x800n;
const hex = (value: bigint): string => value.toString(16);
const IRET = 23;

t.beforeEach(() => bench.reset());

t.test('an exception from kernel mode is pushed on the stack in use', async (t) => {
  cpu.gpr[RCX] = 0xccn;
  cpu.gpr[R11] = 0x11n;
  bench.setTrap(0, HANDLER);
  bench.exception(0);
  t.equal(cpu.rip, HANDLER);
  t.same(bench.frame(7), ['cc', '11', hex(code), '10000e030', '10002', hex(stack), 'e02b'], 'mask in the CS slot, RPL 0, IF clear, RF set');
  t.equal(cpu.gpr[RSP], stack - 56n);
  t.same([cpu.gpr[RCX], cpu.gpr[R11]], [HANDLER, cpu.rflags], 'the way in is a SYSRET');
  t.equal(cpu.rflags, 0x202n, 'RF is not set in the handler');
});

t.test('an exception from user mode goes to the registered stack, and the kernel runs', async (t) => {
  bench.mask = 0;
  bench.toUser();
  cpu.writeMsr(0xc000_0101, 0x1000n);
  cpu.writeMsr(0xc000_0102, 0x2000n);
  bench.setTrap(13, HANDLER, 4);
  bench.exception(13, 0x18);
  t.equal(pv.inKernelMode, true);
  t.same(bench.frame(8), ['0', '0', '18', hex(code), 'e033', '10202', hex(stack), 'e02b'], 'error code; RPL 3; IF set');
  t.equal(cpu.gpr[RSP], kernelStack - 64n);
  t.equal(bench.mask, 1, 'TI_IF masks events');
  t.same([cpu.readMsr(0xc000_0101), cpu.readMsr(0xc000_0102)], [0x2000n, 0x1000n], 'GS bases change places');
});

t.test('frames are aligned to 16 bytes, AC and TF and NT and RF do not reach the handler', async (t) => {
  cpu.gpr[RSP] = stack - 5n;
  cpu.rflags = 0x5_4302n;
  bench.setTrap(3, HANDLER);
  bench.exit({ kind: 'softwareInterrupt', opcode: 'int3', vector: 3, length: 1 });
  t.equal(cpu.gpr[RSP], stack - 16n - 56n);
  t.equal(cpu.rflags, 0x202n);
  t.same(bench.frame(7).slice(2), [hex(code + 1n), '10000e030', '54102', hex(stack - 5n), 'e02b']);
});

t.test('a frame that cannot be made, and a handler that is not there, crash the domain', async (t) => {
  for (const [claim, prepare, why] of [
    ['no handler', () => {}, /unhandled #DE at 0xffffffff80100000: no handler is registered/],
    [
      'a stack nowhere',
      () => {
        bench.setTrap(0, HANDLER);
        cpu.gpr[RSP] = 0x10_0000n;
      },
      /no bounce frame can be written at 0xfffc8/,
    ],
    [
      'a stack of ring -1',
      () => {
        bench.setTrap(0, HANDLER);
        cpu.gpr[RSP] = 0xffff_8300_0000_1000n;
      },
      /which is ring -1's/,
    ],
    [
      'a stack just above it',
      () => {
        bench.setTrap(0, HANDLER);
        cpu.gpr[RSP] = 0xffff_8800_0000_0050n;
      },
      /which is ring -1's/,
    ],
    [
      'no canonical stack',
      () => {
        bench.setTrap(0, HANDLER);
        cpu.gpr[RSP] = 0x8000_0000_0000n;
      },
      /no bounce frame can be written/,
    ],
  ] as const) {
    bench.reset();
    prepare();
    bench.exception(0);
    t.match(bench.crashed, why, claim);
  }
});

t.test('#PF tells the address and the mode that it came from', async (t) => {
  bench.setTrap(14, HANDLER);
  bench.exception(14, 6, 0x123n);
  t.equal(bench.frame(3)[2], '2', 'from the kernel: not a user access');
  t.equal(bench.memory.view.getBigUint64(bench.vcpu.vcpuInfoMaddr + 16, true), 0x123n, 'vcpu_info.arch.cr2');
  bench.reset();
  bench.setTrap(14, HANDLER);
  bench.toUser();
  bench.exception(14, 2, 0x456n);
  t.equal(bench.frame(3)[2], '6', 'from user mode: a user access, whatever the CPU said');
});

t.test('addresses of ring -1 fault as they do where Xen is mapped', async (t) => {
  // biome-ignore format: one address a line
  for (const [claim, cr2, errorCode, seen] of [
    ['the direct map is present', 0xffff_8300_0000_0000n, 4, '1'],
    ['beyond the RAM it is not',  0xffff_8400_0000_0000n, 4, '0'],
    ["Xen's text is not",         0xffff_82d0_8000_0000n, 6, '2'],
  ] as const) {
    bench.reset();
    bench.setTrap(14, HANDLER);
    bench.exception(14, errorCode, cr2);
    t.equal(bench.frame(3)[2], seen, claim);
  }
  bench.reset();
  bench.setTrap(13, HANDLER);
  bench.exception(14, 0, 0xffff_8200_0000_0013n);
  t.equal(bench.frame(3)[2], '10', 'a descriptor that cannot be read is #GP of its selector');
});

t.test('INT n asks the DPL of the trap table', async (t) => {
  const int = (vector: number, flags: number, isUser: boolean): [vector: number, rip: bigint] => {
    bench.reset();
    bench.setTrap(13, HANDLER);
    if (flags >= 0) bench.setTrap(vector, HANDLER + 0x10n, flags);
    if (isUser) bench.toUser();
    bench.exit({ kind: 'softwareInterrupt', opcode: 'int', vector, length: 2 });
    const isFault = cpu.rip === HANDLER;
    return [isFault ? Number(`0x${bench.frame(3)[2]}`) : vector, BigInt(`0x${bench.frame(4)[isFault ? 3 : 2]}`) - code];
  };
  t.same(int(0x20, 0, false), [0x102, 0n], 'DPL 0: #GP with the vector, at the instruction');
  t.same(int(0x20, 1, false), [0x20, 2n], 'DPL 1 is enough for the kernel');
  t.same(int(0x20, 2, true), [0x102, 0n], 'but not for a user');
  t.same(int(0x20, 3, true), [0x20, 2n], 'who needs 3');
  t.same(int(0x80, 0, true), [0x80, 2n], 'INT 0x80 has its own gate');
  t.same(int(0x80, -1, true), [0x402, 0n], 'as long as there is a handler');
  t.same(int(4, 0, true), [4, 2n], 'INT 4 is not asked');
});

t.test('an unmasked pending event enters the event callback with events masked', async (t) => {
  pv.event.address = HANDLER;
  bench.mask = 0;
  bench.pending = 1;
  bench.exit({ kind: 'budget' });
  t.equal(cpu.rip, HANDLER);
  t.equal(bench.mask, 1);
  t.same(bench.frame(7).slice(2), [hex(code), 'e030', '202', hex(stack), 'e02b']);
  bench.exit({ kind: 'budget' });
  t.equal(cpu.gpr[RSP], stack - 56n, 'once');
});

t.test('syscall is a hypercall of the kernel and an upcall of the user', async (t) => {
  cpu.gpr[RAX] = 0x1234n;
  cpu.rflags = 0x2n | 0x200n | 0x40n;
  bench.exit({ kind: 'syscall', opcode: 'syscall', length: 2 });
  t.same(
    [cpu.gpr[RAX], cpu.gpr[RCX], cpu.gpr[R11], cpu.rip],
    [0xffff_ffff_ffff_ffdan, code + 2n, 0x242n, code + 2n],
    '-ENOSYS, RIP and RFLAGS',
  );

  bench.reset();
  pv.syscall.address = HANDLER;
  bench.toUser();
  cpu.rflags = 0x602n;
  bench.exit({ kind: 'syscall', opcode: 'syscall', length: 2 });
  t.equal(cpu.rip, HANDLER);
  t.same(bench.frame(7), [hex(code + 2n), '602', hex(code + 2n), '10000e033', '402', hex(stack), 'e02b']);
  t.equal(cpu.rflags & 0x400n, 0n, 'DF is clear');

  bench.reset();
  bench.setTrap(6, HANDLER);
  bench.toUser();
  bench.exit({ kind: 'syscall', opcode: 'syscall', length: 2 });
  t.same(bench.frame(3)[2], hex(code), 'without a callback it is #UD at the instruction');
});

t.test('hypercall iret', async (t) => {
  const iret = (frame: { flags?: bigint; rip?: bigint; cs?: bigint; rflags?: bigint; ss?: bigint }): void => {
    const { flags = 0n, rip = HANDLER, cs = 0xe030n, rflags = 0x3_3246n, ss = 0xe02bn } = frame;
    cpu.gpr[RSP] = stack - 72n;
    bench.write(stack - 72n, 0xaan, 0x11n, 0xccn, flags, rip, cs, rflags, stack - 8n, ss);
    cpu.gpr[RAX] = BigInt(IRET);
    bench.exit({ kind: 'syscall', opcode: 'syscall', length: 2 });
  };
  iret({});
  t.same(
    [cpu.rip, cpu.gpr[RAX], cpu.gpr[RCX], cpu.gpr[R11], cpu.gpr[RSP]],
    [HANDLER, 0xaan, 0xccn, 0x11n, stack - 8n],
    'all registers of the frame',
  );
  t.equal(cpu.rflags, 0x1_0246n, 'without IOPL and VM');
  t.equal(bench.mask, 0, 'IF is the upcall mask');
  t.same([cpu.getSegment('cs').selector, pv.inKernelMode], [0xe033, true], 'RPL 0 means kernel mode');

  bench.reset();
  iret({ cs: 0xe033n, rflags: 0x46n });
  t.same([pv.inKernelMode, bench.mask, cpu.rflags], [false, 1, 0x246n], 'RPL 3 means user mode');

  bench.reset();
  iret({ flags: 0x100n, cs: 0x10n, ss: 0x18n, rflags: 0x202n });
  t.same(
    [cpu.gpr[RCX], cpu.gpr[R11], cpu.getSegment('cs').selector, cpu.getSegment('ss').selector],
    [HANDLER, 0x202n, 0xe033, 0xe02b],
    'VGCF_in_syscall: a SYSRET',
  );

  // biome-ignore format: one frame a line
  for (const [claim, frame, errorCode] of [
    ['a code selector beyond the table',  { cs: 0xfff0n },                'fff0'],
    ['a null code selector',              { cs: 0n },                     '0'],
    ["ring -1's code",                    { cs: 0xe008n },                'e008'],
    ['data as code',                      { cs: 0xe028n },                'e028'],
    ['a null stack selector',             { ss: 0n },                     '0'],
    ['code as stack',                     { ss: 0xe033n },                'e030'],
    ['a RIP that is not canonical',       { rip: 0x8000_0000_0000n },     '0'],
  ] as const) {
    bench.reset();
    bench.setTrap(13, HANDLER + 0x20n);
    iret(frame);
    t.same([cpu.rip, bench.frame(3)[2]], [HANDLER + 0x20n, errorCode], `${claim}: #GP[${errorCode}]`);
  }
  t.same(bench.frame(5).slice(3), ['800000000000', 'e030'], 'at the place where it went');

  bench.reset();
  cpu.gpr[RSP] = 0x1000n;
  cpu.gpr[RAX] = BigInt(IRET);
  bench.exit({ kind: 'syscall', opcode: 'syscall', length: 2 });
  t.match(bench.crashed, /IRET context/, 'a frame that cannot be read crashes');
});

t.test('a selector that is gone when the vCPU comes back on the core is told to the failsafe callback', async (t) => {
  pv.failsafe.address = HANDLER;
  cpu.setSegment('es', { selector: 0x13, base: 0n, limit: 0xffff_ffff, attributes: 0xc0f3 });
  cpu.setSegment('ds', { selector: 0xe02b, base: 0n, limit: 0xffff_ffff, attributes: 0xc0f3 });
  reloadSegments(bench.trapHost, bench.vcpu);
  t.equal(cpu.rip, HANDLER);
  t.same(bench.frame(8).slice(2), ['e02b', '13', '0', '0', hex(code), '10000e030'], 'DS, ES, FS and GS are in the frame');
  t.same([cpu.getSegment('es').selector, cpu.getSegment('ds').selector], [0, 0xe02b]);
});

t.test('#NM clears the TS that the guest had set', async (t) => {
  bench.setTrap(7, HANDLER);
  t.equal(bench.call(5, 1), 0);
  t.equal(cpu.cr0 & 8n, 8n);
  cpu.rip = code;
  bench.exception(7);
  t.same([cpu.rip, cpu.cr0 & 8n], [HANDLER, 0n]);
});

t.test('ud2 "xen" cpuid', async (t) => {
  bench.setTrap(6, HANDLER);
  bench.assemble(0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2);
  cpu.gpr[RAX] = 0x4000_0000n;
  bench.exception(6);
  t.same([cpu.rip, cpu.gpr[RAX], cpu.gpr[RBX]], [code + 7n, 0x4000_0005n, 0x566e_6558n]);
  bench.reset();
  bench.setTrap(6, HANDLER);
  bench.assemble(0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x90, 0x90);
  bench.exception(6);
  t.equal(cpu.rip, HANDLER, 'before anything else it is #UD');
});

interface Case {
  readonly claim: string;
  readonly bytes: readonly number[];
  readonly before?: Partial<Record<'rax' | 'rcx' | 'rdx' | 'rsi' | 'rdi', bigint>>;
  readonly iopl?: number;
  readonly user?: boolean;
  /** Registers afterwards; undefined: #GP(0) at the instruction. */
  readonly after?: Partial<Record<'rax' | 'rcx' | 'rdx' | 'rsi' | 'rdi', bigint>> | 'gp';
}
const NUMBERS = { rax: RAX, rcx: RCX, rdx: RDX, rsi: RSI, rdi: RDI } as const;

// biome-ignore format: one instruction a line
const privileged: readonly Case[] = [
  { claim: 'hlt is the guest\'s #GP',          bytes: [0xf4],                         after: 'gp' },
  { claim: 'cli with IOPL 0',                  bytes: [0xfa],                         after: 'gp' },
  { claim: 'cli with IOPL 1',                  bytes: [0xfa], iopl: 1 },
  { claim: 'sti with IOPL 1',                  bytes: [0xfb], iopl: 1 },
  { claim: 'sti of a user with IOPL 1',        bytes: [0xfb], iopl: 1, user: true,    after: 'gp' },
  { claim: 'sti of a user with IOPL 3',        bytes: [0xfb], iopl: 3, user: true },
  { claim: 'in with IOPL 0',                   bytes: [0xec],                         after: 'gp' },
  { claim: 'in al, dx',                        bytes: [0xec], iopl: 1, before: { rax: 0x1234_5678_9abcn, rdx: 0x60n }, after: { rax: 0x1234_5678_9affn } },
  { claim: 'in ax, dx',                        bytes: [0x66, 0xed], iopl: 1, before: { rax: 0x1234_5678_9abcn }, after: { rax: 0x1234_5678_ffffn } },
  { claim: 'in eax, dx',                       bytes: [0xed], iopl: 1, before: { rax: -1n, rdx: 0x60n }, after: { rax: 0xffff_ffffn } },
  { claim: 'in al, imm8',                      bytes: [0xe4, 0x80], iopl: 1,          after: { rax: 0xffn } },
  { claim: 'out dx, eax to PCI',               bytes: [0xef], iopl: 1, before: { rax: 0x8000_1234n, rdx: 0xcf8n }, after: {} },
  { claim: 'which reads back',                 bytes: [0xed], iopl: 1, before: { rdx: 0xcf8n }, after: { rax: 0x8000_1234n } },
  { claim: 'out imm8, al',                     bytes: [0xe6, 0x70], iopl: 1, before: { rax: 0x42n }, after: {} },
  { claim: 'the CMOS index reads back',        bytes: [0xe4, 0x70], iopl: 1,          after: { rax: 0x42n } },
  { claim: 'rep outsb',                        bytes: [0xf3, 0x6e], iopl: 1, before: { rcx: 3n, rsi: code, rdx: 0x80n }, after: { rcx: 0n, rsi: code + 3n } },
  { claim: 'rep insb',                         bytes: [0xf3, 0x6c], iopl: 1, before: { rcx: 3n, rdi: code + 0x400n, rdx: 0x80n }, after: { rcx: 0n, rdi: code + 0x403n } },
  { claim: 'rep insb of nothing',              bytes: [0xf3, 0x6c], before: { rcx: 0n, rdi: 5n }, after: { rdi: 5n } },
  { claim: 'mov rax, cr0',                     bytes: [0x0f, 0x20, 0xc0],             after: { rax: 0x8005_0033n } },
  { claim: 'mov cr0 that changes CR0',         bytes: [0x0f, 0x22, 0xc0],             after: 'gp' },
  { claim: 'mov cr0 that sets TS',             bytes: [0x0f, 0x22, 0xc0], before: { rax: 0x8005_003bn }, after: {} },
  { claim: 'mov rax, cr0 then',                bytes: [0x0f, 0x20, 0xc0],             after: { rax: 0x8005_003bn } },
  { claim: 'clts',                             bytes: [0x0f, 0x06] },
  { claim: 'mov rax, cr0 after it',            bytes: [0x0f, 0x20, 0xc0],             after: { rax: 0x8005_0033n } },
  { claim: 'clts of a user',                   bytes: [0x0f, 0x06], user: true,       after: 'gp' },
  { claim: 'mov rax, cr4',                     bytes: [0x0f, 0x20, 0xe0],             after: { rax: 0x660n } },
  { claim: 'mov rax, cr3',                     bytes: [0x0f, 0x20, 0xd8],             after: { rax: BigInt(bench.boot.l4Mfn) << 12n } },
  { claim: 'mov cr3 to a foreign frame',       bytes: [0x0f, 0x22, 0xd8], before: { rax: 0x1000n }, after: 'gp' },
  { claim: 'mov cr8',                          bytes: [0x44, 0x0f, 0x20, 0xc0],       after: 'gp' },
  { claim: 'mov rax, dr6',                     bytes: [0x0f, 0x21, 0xf0],             after: { rax: 0xffff_0ff0n } },
  { claim: 'mov dr0 inside ring -1',           bytes: [0x0f, 0x23, 0xc0], before: { rax: 0xffff_8000_0000_0000n }, after: 'gp' },
  { claim: 'mov dr7 with an I/O breakpoint',   bytes: [0x0f, 0x23, 0xf8], before: { rax: 0x2_0001n }, after: 'gp' },
  { claim: 'wbinvd',                           bytes: [0x0f, 0x09] },
  { claim: 'wbinvd of a user',                 bytes: [0x0f, 0x09], user: true },
  { claim: 'invd',                             bytes: [0x0f, 0x08] },
  { claim: 'invlpg',                           bytes: [0x0f, 0x01, 0x38],             after: 'gp' },
  { claim: 'lmsw',                             bytes: [0x0f, 0x01, 0xf0],             after: 'gp' },
  { claim: 'rdpmc',                            bytes: [0x0f, 0x33],                   after: 'gp' },
  { claim: 'rdtsc',                            bytes: [0x0f, 0x31],                   after: { rax: 2n, rdx: 1n } },
  { claim: 'rdmsr of PAT',                     bytes: [0x0f, 0x32], before: { rcx: 0x277n }, after: { rax: 0x7_0406n, rdx: 0x501n } },
  { claim: 'rdmsr of EFER',                    bytes: [0x0f, 0x32], before: { rcx: 0xc000_0080n }, after: { rax: 0xd01n, rdx: 0n } },
  { claim: 'rdmsr of nothing',                 bytes: [0x0f, 0x32], before: { rcx: 0x12345n }, after: 'gp' },
  { claim: 'wrmsr of GS_BASE',                 bytes: [0x0f, 0x30], before: { rcx: 0xc000_0101n, rax: 0x1000n }, after: {} },
  { claim: 'rdmsr of GS_BASE',                 bytes: [0x0f, 0x32], before: { rcx: 0xc000_0101n }, after: { rax: 0x1000n } },
  { claim: 'wrmsr of no canonical GS_BASE',    bytes: [0x0f, 0x30], before: { rcx: 0xc000_0101n, rdx: 0x8000n }, after: 'gp' },
  { claim: 'wrmsr of PAT',                     bytes: [0x0f, 0x30], before: { rcx: 0x277n }, after: 'gp' },
  { claim: 'wrmsr of a foreign hypercall page', bytes: [0x0f, 0x30], before: { rcx: 0x4000_0000n }, after: 'gp' },
  { claim: 'wrmsr of the hypercall page',      bytes: [0x0f, 0x30], before: { rcx: 0x4000_0000n, rax: bench.maddrOf(0x107) }, after: {} },
  { claim: 'wrmsr of a performance counter',   bytes: [0x0f, 0x30], before: { rcx: 0xc001_0000n }, after: {} },
  { claim: 'rdmsr of a user',                  bytes: [0x0f, 0x32], before: { rcx: 0x277n }, user: true, after: 'gp' },
];

t.test('privileged instructions after their #GP', async (t) => {
  for (const { claim, bytes, before = {}, iopl = 0, user = false, after = {} } of privileged) {
    bench.reset();
    bench.setTrap(13, HANDLER);
    pv.iopl = iopl << 12;
    if (user) bench.toUser();
    for (const [name, value] of Object.entries(before)) cpu.gpr[NUMBERS[name as keyof typeof NUMBERS]] = value;
    bench.assemble(...bytes);
    bench.exception(13, 0);
    if (after === 'gp') {
      t.equal(cpu.rip === HANDLER && bench.frame(4)[3], hex(code), `${claim}: #GP`);
      continue;
    }
    t.equal(cpu.rip, code + BigInt(bytes.length), `${claim}: done`);
    for (const [name, value] of Object.entries(after)) {
      t.equal(cpu.gpr[NUMBERS[name as keyof typeof NUMBERS]], BigInt.asUintN(64, value), `${claim}: ${name}`);
    }
  }
});

t.test('the hypercall page that was asked for by MSR is there', async (t) => {
  t.equal(hex(bench.peek(0x107, 4 * 17)), '11b8534151', 'slot 17');
});

t.test('an I/O bitmap opens single ports to a user', async (t) => {
  bench.setTrap(13, HANDLER);
  pv.iobmp = code + 0x600n;
  pv.iobmpLimit = 0x1000;
  bench.write(code + 0x600n, 0xffff_ffff_ffff_fffdn);
  bench.toUser();
  bench.assemble(0xe4, 0x01);
  bench.exception(13, 0);
  t.equal(cpu.rip, code + 2n, 'port 1 is open');
  cpu.rip = code;
  bench.assemble(0xe4, 0x02);
  bench.exception(13, 0);
  t.equal(cpu.rip, HANDLER, 'port 2 is not');
});

t.test('a string instruction that faults half way has moved what it could', async (t) => {
  bench.setTrap(14, HANDLER);
  pv.iopl = 0x1000;
  bench.assemble(0xf3, 0x6c);
  cpu.gpr[RCX] = 4n;
  cpu.gpr[RDI] = bench.vaddrOf(0x107) + 0xffen;
  bench.exception(13, 0);
  t.same([cpu.rip, cpu.gpr[RDI]! & 0xfffn], [code + 2n, 2n], 'across a page border');
  cpu.rip = code;
  cpu.gpr[RCX] = 4n;
  cpu.gpr[RDI] = 0x10_0000n;
  bench.exception(13, 0);
  t.same([cpu.rip, bench.frame(4)[2], bench.frame(1)[0]], [HANDLER, '2', '4'], 'a write fault, RCX as it was');
});

t.test('a single step over an emulated instruction traps behind it', async (t) => {
  bench.setTrap(1, HANDLER);
  cpu.rflags = 0x302n;
  bench.assemble(0x0f, 0x20, 0xe0);
  bench.exception(13, 0);
  t.same([cpu.rip, bench.frame(3)[2]], [HANDLER, hex(code + 3n)]);
  t.equal(pv.dr6 & 0x4000, 0x4000, 'DR6.BS');
});

t.test('writable page tables', async (t) => {
  const l1 = (() => {
    for (const step of cpu.walk(code)) if (step.level === 1) return step;
    throw new Error('no L1');
  })();
  const tableMfn = Math.floor(l1.entryMaddr / 4096);
  const tablePfn = bench.p2m.indexOf(tableMfn);
  const at = bench.vaddrOf(tablePfn) + BigInt(l1.entryMaddr % 4096) + 8n * 0x20n;
  const old = bench.read(at);
  const write = (entry: bigint, ...bytes: number[]): void => {
    bench.reset();
    bench.setTrap(14, HANDLER);
    bench.assemble(...bytes);
    cpu.gpr[RDI] = at;
    cpu.gpr[RAX] = entry;
    bench.exception(14, 7, at);
  };
  const MOV = [0x48, 0x89, 0x07];
  write(old & ~2n, ...MOV);
  t.equal(cpu.rip, HANDLER, 'without the assist it is a #PF');
  bench.vcpu.domain.vmAssist = 4n;
  write(old & ~2n, ...MOV);
  t.same([cpu.rip, bench.read(at) & 3n], [code + 3n, 1n], 'with it the entry is written');
  write(old, 0x48, 0x87, 0x07);
  t.same([cpu.rip, bench.read(at) & 3n, cpu.gpr[RAX]! & 3n], [code + 3n, 3n, 1n], 'xchg gives the old one');
  write(0n, 0xf0, 0x80, 0x27, 0xfd);
  t.same([cpu.rip, bench.read(at) & 3n], [code + 4n, 1n], 'lock andb');
  write((BigInt(tableMfn) << 12n) | 3n, ...MOV);
  t.same([cpu.rip, bench.read(at) & 3n], [HANDLER, 1n], 'a writable mapping of a page table is refused');
  t.equal(bench.frame(3)[2], '3');
  write(0x1003n, ...MOV);
  t.equal(cpu.rip, HANDLER, 'and a frame of somebody else');
  bench.vcpu.domain.vmAssist = 0n;
});

t.test('CPUID shows an AMD of x86-64-v2 and Xen 4.17', async (t) => {
  const policy = { machineAddressBits: 30, apicId: 2 };
  const leaf = (eax: number, ecx = 0) => Object.values(cpuid(policy, eax, ecx)).map((value) => (value >>> 0).toString(16));
  // biome-ignore format: one leaf a line
  for (const [eax, expected] of [
    [0x0000_0000, ['7', '68747541', '444d4163', '69746e65']],
    [0x0000_0001, ['663', '2000800', '80982201', '789c3f5']],
    [0x0000_0007, ['0', '0', '0', '0']],
    [0x4000_0000, ['40000005', '566e6558', '65584d4d', '4d4d566e']],
    [0x4000_0001, ['40011', '0', '0', '0']],
    [0x4000_0002, ['1', '40000000', '1', '0']],
    [0x4000_0003, ['4', '0', '0', '0']],
    [0x4000_0005, ['0', '1e', '0', '0']],
    [0x4000_0100, ['0', '0', '0', '0']],
    [0x8000_0000, ['80000008', '68747541', '444d4163', '69746e65']],
    [0x8000_0001, ['663', '0', '1', '2991cbf5']],
    [0x8000_0002, ['656e6562', '20687461', '74726976', '206c6175']],
    [0x8000_0008, ['3028', '0', '0', '0']],
  ] as const) t.same(leaf(eax), expected, eax.toString(16));
});

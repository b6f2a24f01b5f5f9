/** `beneath run --check`: each mistake of a guest is told with its place, and a guest without any is told so. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { useOfRax } from '../../emulator/check/result_use.ts';
import { makeBareCpu } from '../support/bare_cpu.ts';
import { beneath } from '../support/command.ts';
import { makeImage } from '../support/elf_image.ts';
import { GRUB, grubIsMissing } from '../support/grub.ts';
import { expectedConsole, guestKernel, guestVcpus, kinds } from '../support/guest_run.ts';
import { isThorough } from '../support/thorough.ts';

const folder = mkdtempSync(join(tmpdir(), 'beneath-'));
t.teardown(() => rmSync(folder, { recursive: true }));
t.setTimeout(240_000);

const check = (kernel: string, ...flags: string[]) => beneath(['run', kernel, '--check', '--deterministic', ...flags]);

// biome-ignore format: in order
const mistakes = [
  ['unknown_call',       'hypercall 60 is unknown'],
  ['unknown_operation',  'event_channel_op has no operation 99'],
  ['deprecated_call',    'sched_op_compat is deprecated: sched_op took its place'],
  ['ignored_error',      'the error of event_channel_op.send (EINVAL) is not looked at'],
  ['closed_port',        'port N is used after it was closed'],
  ['overlapping_areas',  'the time area of vCPU 0 overlaps the runstate area of vCPU 0'],
  ['area_in_page_table', 'the time area of vCPU 0 lies in a page table'],
  ['lost_event',         'the vCPU blocks while port N is pending and unmasked: its selector or upcall flag was cleared, so this event is lost'],
  ['user_code',          'user mode goes through the hypercall page, and gets no hypercall but a system call'],
  ['mapped_grant',       'mapped here and still so at the end: grant 8 (its own)'],
  ['shut_down',          'the guest ends while it still grants to itself: grant 8'],
  ['leaked_frame',       'a frame got here was neither given back nor mapped at the end'],
];

t.test('each mistake once: its place, its name, status 5', async (t) => {
  for (const as of kinds) {
    const { status, stdout, stderr } = await check(guestKernel('mistakes'), '--as', as);
    const lines = stderr
      .split('\n')
      .map((line) => line.replace(/^check: 0xffffffff8010[0-9a-f]{4} (\w+)\+0x[0-9a-f]+: /, '$1: ').replace(/port \d+/, 'port N'));
    t.same(lines, [...mistakes.map(([place, what]) => `${place}: ${what}`), 'check: 12 mistakes found', ''], as);
    t.equal(status, 5, `${as}: status`);
    t.equal(stdout, expectedConsole('mistakes', as), `${as}: the console is as without`);
  }
});

const runs = (name: string): string[] => [guestKernel(name), '--vcpus', `${guestVcpus(name)}`];

t.test('a guest without mistakes is told so, and its status is the status', async (t) => {
  for (const name of ['hello', 'keys', 'rings', 'traps']) {
    const { status, stderr } = await check(guestKernel(name));
    t.match(stderr, /(^|\n)check: nothing found\n$/, name);
    t.equal(status, 0, `${name}: status`);
  }
});

// biome-ignore format: by guest
const onPurpose: Readonly<Record<string, RegExp>> = {
  clock:      /has no operation 99$|port \d+ is used after it was closed$/,
  smp:        /^nmi_op has no operation 2$/,
  pagetables: /has no operation \d+$/,
};

t.test('a guest that asks wrongly on purpose is told of just that', async (t) => {
  for (const [name, expected] of Object.entries(onPurpose)) {
    if (name === 'smp' && !isThorough) continue;
    const [kernel, ...flags] = runs(name);
    const { status, stderr } = await check(kernel!, ...flags);
    const found = stderr.split('\n').filter((line) => line.startsWith('check: 0x'));
    t.same(
      found.map((line) => line.replace(/^check: \S+ \S+: /, '')).filter((what) => !expected.test(what)),
      [],
      name,
    );
    t.equal(status, 5, `${name}: status`);
  }
});

t.test('GRUB makes no mistake', { skip: grubIsMissing }, async (t) => {
  const { status, stderr } = await beneath(['run', GRUB, '--check', '--deterministic'], 'echo hello\nhalt\n');
  t.equal(stderr, 'check: nothing found\n');
  t.equal(status, 0);
});

t.test('without symbols the address stands alone; a crash without mistakes stays a crash', async (t) => {
  const guest = (name: string, ...code: number[]): string => {
    const path = join(folder, name);
    writeFileSync(path, makeImage({ code: Buffer.from(code) }));
    return path;
  };
  // mov eax, 60; syscall; ud2
  const unknown = await check(guest('unknown.elf', 0xb8, 60, 0, 0, 0, 0x0f, 0x05, 0x0f, 0x0b));
  t.match(unknown.stderr, /\ncheck: 0x[0-9a-f]+: hypercall 60 is unknown\ncheck: 1 mistake found\n$/);
  t.equal(unknown.status, 5);
  const crash = await check(guest('crash.elf', 0x0f, 0x0b));
  t.match(crash.stderr, /check: nothing found\n$/);
  t.equal(crash.status, 3);
});

t.test('an instruction looks at RAX, replaces it, or neither', async (t) => {
  const cpu = makeBareCpu();
  // biome-ignore format: a table
  for (const [text, code, use] of [
    ['mov eax, 1',            'b801000000',       'overwrites'],
    ['mov rax, 1',            '48c7c001000000',   'overwrites'],
    ['mov rax, rbx',          '4889d8',           'overwrites'],
    ['mov rax, [rbx]',        '488b03',           'overwrites'],
    ['mov rax, [rax]',        '488b00',           'reads'],
    ['mov [rbx], rax',        '488903',           'reads'],
    ['mov rbx, rax',          '4889c3',           'reads'],
    ['mov al, 1',             'b001',             'reads'],
    ['mov ax, 1',             '66b80100',         'reads'],
    ['xor eax, eax',          '31c0',             'overwrites'],
    ['xor eax, ebx',          '31d8',             'reads'],
    ['test eax, eax',         '85c0',             'reads'],
    ['cmp eax, 1 (short)',    '83f801',           'reads'],
    ['cmp eax, imm32',        '3d00100000',       'reads'],
    ['lea rax, [rbx+8]',      '488d4308',         'overwrites'],
    ['lea rbx, [rax+8]',      '488d5808',         'reads'],
    ['movzx eax, bl',         '0fb6c3',           'overwrites'],
    ['movzx ebx, ah',         '0fb6dc',           'reads'],
    ['cmove rax, rbx',        '480f44c3',         'reads'],
    ['push rax',              '50',               'reads'],
    ['push rbx',              '53',               'nothing'],
    ['pop rax',               '58',               'overwrites'],
    ['pop rcx',               '59',               'nothing'],
    ['pop r8',                '4158',             'nothing'],
    ['ret',                   'c3',               'nothing'],
    ['call',                  'e800000000',       'nothing'],
    ['je',                    '7400',             'nothing'],
    ['nop dword [rax]',       '0f1f00',           'nothing'],
    ['add rbx, 1',            '4883c301',         'nothing'],
    ['imul rbx',              '48f7eb',           'reads'],
    ['cpuid',                 '0fa2',             'reads'],
    ['stosd',                 'ab',               'reads'],
    ['syscall',               '0f05',             'reads'],
  ] as const) {
    const insn = cpu.decode(Buffer.from(`${code}${'90'.repeat(15)}`, 'hex'));
    t.equal(insn && useOfRax(insn), use, text);
  }
});

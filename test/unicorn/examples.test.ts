// What programs do with Unicorn, each as one would write it for unicorn.js; then errors and bad input.
import t from 'tap';
import MUnicorn, { type Unicorn } from '../../emulator/unicorn/index.ts';

const uc = await MUnicorn();
const CODE = 0x10000,
  DATA = 0x20000;

function open(mode: number, code: readonly number[]): Unicorn {
  const e = new uc.Unicorn(uc.ARCH_X86, mode, { memorySize: 16 << 20 });
  e.mem_map(CODE, 0x1000, uc.PROT_ALL);
  e.mem_map(DATA, 0x2000, uc.PROT_READ | uc.PROT_WRITE);
  e.mem_write(CODE, code);
  if (mode !== uc.MODE_16) e.reg_write_i32(uc.X86_REG_ESP, DATA + 0x2000);
  return e;
}

/** mov ecx, 10; again: add eax, ecx; dec ecx; jnz again */
const SUM = [0xb9, 10, 0, 0, 0, 0x01, 0xc8, 0xff, 0xc9, 0x75, 0xfa];

t.test('a snippet runs', (t) => {
  for (const mode of [uc.MODE_32, uc.MODE_64]) {
    const e = open(mode, SUM);
    e.emu_start(CODE, CODE + SUM.length, 0, 0);
    t.equal(e.reg_read_i32(uc.X86_REG_EAX), 55);
    t.equal(e.reg_read_i32(uc.X86_REG_EIP), CODE + SUM.length);
    e.close();
  }
  t.end();
});

t.test('code tracing', (t) => {
  const e = open(uc.MODE_64, SUM);
  const trace: string[] = [];
  const add = e.hook_add(
    uc.HOOK_CODE,
    (_: Unicorn, address: bigint, size: number, seen: string[]) => seen.push(`${address - BigInt(CODE)}+${size}`),
    trace,
  );
  let blocks = 0;
  e.hook_add(uc.HOOK_BLOCK, () => blocks++);
  let rounds = 0;
  e.hook_add(uc.HOOK_CODE, () => rounds++, {}, CODE + 5, CODE + 5);
  e.emu_start(CODE, CODE + SUM.length, 0, 7);
  t.same(trace, ['0+5', '5+2', '7+2', '9+2', '5+2', '7+2', '9+2'], 'exactly count instructions');
  t.same([blocks, rounds], [2, 2]);
  e.hook_del(add);
  e.emu_start(CODE, CODE + SUM.length, 0, 0);
  t.equal(trace.length, 7, 'a deleted hook is silent');
  t.equal(rounds, 12, 'one with a range goes on');
  t.end();
});

t.test('memory watch', (t) => {
  // mov [DATA+8], eax; add dword [DATA+8], 1; mov ecx, [DATA+0x100]
  const code = [0xa3, 8, 0, 2, 0, 0x83, 0x05, 8, 0, 2, 0, 1, 0x8b, 0x0d, 0, 1, 2, 0];
  const e = open(uc.MODE_32, code);
  e.mem_write(DATA + 0x100, [1, 2, 3, 4]);
  e.reg_write_i32(uc.X86_REG_EAX, 5);
  const seen: string[] = [];
  const kinds = new Map([
    [uc.MEM_READ as number, 'read'],
    [uc.MEM_WRITE, 'write'],
    [uc.MEM_READ_AFTER, 'after'],
  ]);
  e.hook_add(
    uc.HOOK_MEM_READ | uc.HOOK_MEM_WRITE | uc.HOOK_MEM_READ_AFTER,
    (_: Unicorn, type: number, address: bigint, size: number, value: bigint) =>
      seen.push(`${kinds.get(type)} ${address.toString(16)} ${size}${type === uc.MEM_READ ? '' : ` ${value}`}`),
    {},
    DATA,
    DATA + 0xff,
  );
  e.emu_start(CODE, CODE + code.length, 0, 0);
  t.same(seen, ['write 20008 4 5', 'read 20008 4', 'after 20008 4 5', 'write 20008 4 6'], 'in its range');
  t.equal(e.reg_read_i32(uc.X86_REG_ECX), 0x04030201);
  t.end();
});

t.test('lazy mapping in an UNMAPPED hook', (t) => {
  // again: mov [rdi], rdi; mov rax, [rdi]; add rdi, 0x1000; dec ecx; jnz again
  const code = [0x48, 0x89, 0x3f, 0x48, 0x8b, 0x07, 0x48, 0x81, 0xc7, 0, 0x10, 0, 0, 0xff, 0xc9, 0x75, 0xef];
  const e = open(uc.MODE_64, code);
  const FAR = 0xffff_8000_0000_0ffcn;
  const asked: string[] = [];
  e.hook_add(uc.HOOK_MEM_UNMAPPED, (handle: Unicorn, type: number, address: bigint, size: number, value: bigint) => {
    asked.push(`${type} ${address.toString(16)} ${size} ${BigInt.asUintN(64, value).toString(16)}`);
    handle.mem_map(address & ~0xfffn, 0x1000, uc.PROT_ALL);
    return true;
  });
  e.reg_write_i64(uc.X86_REG_RDI, FAR);
  e.reg_write_i32(uc.X86_REG_ECX, 3);
  e.emu_start(CODE, CODE + code.length, 0, 0);
  t.same(asked, [
    '20 ffff800000000ffc 4 ffc',
    '20 ffff800000001000 4 ffff8000',
    '20 ffff800000002000 4 ffff8000',
    '20 ffff800000003000 4 ffff8000',
  ]);
  t.equal(BigInt.asUintN(64, e.reg_read_i64(uc.X86_REG_RAX)), FAR + 0x2000n);
  t.equal(e.mem_regions().length, 6);
  t.end();
});

t.test('an instruction that is mended in the middle counts and tells once', (t) => {
  // movsq; nop; nop
  const e = open(uc.MODE_64, [0x48, 0xa5, 0x90, 0x90]);
  e.reg_write_i64(uc.X86_REG_RSI, DATA);
  e.reg_write_i64(uc.X86_REG_RDI, 0x50_0000);
  const seen: string[] = [];
  const told = (_: Unicorn, type: number, address: bigint): void => void seen.push(`${type} ${address.toString(16)}`);
  e.hook_add(uc.HOOK_MEM_READ | uc.HOOK_MEM_WRITE, told);
  e.hook_add(uc.HOOK_CODE, (_: Unicorn, address: bigint) => seen.push(`code ${address.toString(16)}`));
  e.hook_add(uc.HOOK_MEM_WRITE_UNMAPPED, (handle: Unicorn, type: number, address: bigint) => {
    told(handle, type, address);
    handle.mem_map(address, 0x1000, uc.PROT_ALL);
    return true;
  });
  e.emu_start(CODE, CODE + 4, 0, 2);
  t.same(seen, ['code 10000', '16 20000', '17 500000', '20 500000', 'code 10002']);
  t.equal(e.reg_read_i32(uc.X86_REG_EIP), CODE + 3);
  t.end();
});

t.test('hooks hear of code once it can be fetched', (t) => {
  const e = open(uc.MODE_64, [0xff, 0xe0]); // jmp rax
  const seen: string[] = [];
  e.reg_write_i64(uc.X86_REG_RAX, 0x50_0000);
  e.hook_add(uc.HOOK_BLOCK, (_: Unicorn, address: bigint, size: number) => seen.push(`block ${address.toString(16)} ${size}`));
  e.hook_add(uc.HOOK_CODE, (_: Unicorn, address: bigint, size: number) => seen.push(`code ${address.toString(16)} ${size}`));
  e.hook_add(uc.HOOK_MEM_FETCH_UNMAPPED, (handle: Unicorn, _: number, address: bigint) => {
    seen.push(`fetch ${address.toString(16)}`);
    handle.mem_map(address, 0x1000, uc.PROT_ALL);
    handle.mem_write(address, [0x48, 0x90, 0xf4]);
    return true;
  });
  e.emu_start(CODE, 0, 0, 0);
  t.same(seen, ['block 10000 2', 'code 10000 2', 'fetch 500000', 'block 500000 3', 'code 500000 2', 'code 500002 1']);
  t.end();
});

t.test('a count is that of the run that it was given to', (t) => {
  const e = open(uc.MODE_64, [0x90, 0x90, 0x90, 0x90]);
  let isFirst = true;
  let calls = 0;
  e.hook_add(uc.HOOK_CODE, (handle: Unicorn) => {
    calls++;
    if (!isFirst) return;
    isFirst = false;
    handle.emu_start(CODE, CODE + 4, 0, 0);
  });
  e.emu_start(CODE, CODE + 4, 0, 3);
  t.equal(e.reg_read_i32(uc.X86_REG_EIP), CODE + 3);
  t.equal(calls, 4 + 3);
  t.end();
});

t.test('SYSCALL and IN/OUT hooks', (t) => {
  // mov eax, 1; syscall; in al, 0x60; out 0x61, al; mov ebx, eax
  const code = [0xb8, 1, 0, 0, 0, 0x0f, 0x05, 0xe4, 0x60, 0xe6, 0x61, 0x89, 0xc3];
  const e = open(uc.MODE_64, code);
  const seen: string[] = [];
  e.hook_add(
    uc.HOOK_INSN,
    (handle: Unicorn) => {
      seen.push(`syscall ${handle.reg_read_i64(uc.X86_REG_RAX)}`);
      handle.reg_write_i64(uc.X86_REG_RAX, 0x1234);
    },
    {},
    1,
    0,
    uc.X86_INS_SYSCALL,
  );
  e.hook_add(
    uc.HOOK_INSN,
    (_: Unicorn, port: number, size: number) => {
      seen.push(`in ${port} ${size}`);
      return 0x177;
    },
    {},
    1,
    0,
    uc.X86_INS_IN,
  );
  e.hook_add(
    uc.HOOK_INSN,
    (_: Unicorn, port: number, size: number, value: number) => seen.push(`out ${port} ${size} ${value}`),
    {},
    1,
    0,
    uc.X86_INS_OUT,
  );
  e.emu_start(CODE, CODE + code.length, 0, 0);
  t.same(seen, ['syscall 1', `in ${0x60} 1`, `out ${0x61} 1 ${0x77}`]);
  t.equal(e.reg_read_i32(uc.X86_REG_EBX), 0x1277);
  t.end();
});

t.test("a program's own page tables", (t) => {
  const ROOT = 0x100000n;
  const setUp = (): Unicorn => {
    // mov rax, cr0; or eax, 0x80000000; mov cr0, rax; mov rbx, [0x7fff0008]; mov [0x7fff0010], rbx
    const e = open(
      uc.MODE_64,
      [
        0x0f, 0x20, 0xc0, 0x0d, 0, 0, 0, 0x80, 0x0f, 0x22, 0xc0, 0x48, 0x8b, 0x1c, 0x25, 8, 0, 0xff, 0x7f, 0x48, 0x89, 0x1c, 0x25, 0x10, 0,
        0xff, 0x7f,
      ],
    );
    e.mem_map(ROOT, 0x10000, uc.PROT_READ | uc.PROT_WRITE);
    const entry = (at: bigint, value: bigint): void => {
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setBigUint64(0, value, true);
      e.mem_write(at, bytes);
    };
    entry(ROOT, (ROOT + 0x1000n) | 3n);
    entry(ROOT + 0x1000n, (ROOT + 0x2000n) | 3n);
    entry(ROOT + 0x1008n, (ROOT + 0x4000n) | 3n);
    entry(ROOT + 0x2000n, (ROOT + 0x3000n) | 3n);
    entry(ROOT + 0x3000n + BigInt(CODE >> 12) * 8n, BigInt(CODE) | 3n);
    entry(ROOT + 0x4000n + 511n * 8n, (ROOT + 0x5000n) | 3n);
    entry(ROOT + 0x5000n + 0x1f0n * 8n, BigInt(DATA) | 3n);
    e.mem_write(DATA + 8, [42]);
    e.reg_write_i64(uc.X86_REG_CR4, 0x620);
    e.reg_write_i64(uc.X86_REG_CR3, ROOT);
    return e;
  };
  const e = setUp();
  const accesses: string[] = [];
  e.hook_add(
    uc.HOOK_MEM_VALID,
    (_: Unicorn, type: number, address: bigint) => accesses.push(`${type} ${address.toString(16)}`),
    {},
    DATA,
    DATA + 0xfff,
  );
  e.emu_start(CODE, CODE + 27, 0, 0);
  t.equal(e.reg_read_i64(uc.X86_REG_RBX), 42n);
  t.same([...e.mem_read(DATA + 16, 1)], [42]);
  t.same([...e.mem_read(ROOT + 0x5f80n, 1)], [0x63], 'A and D are set');
  t.same(accesses, ['16 20008', '17 20010'], 'hooks tell where memory lies');

  const lacking = setUp();
  lacking.mem_write(ROOT + 0x5f80n, [0]);
  const vectors: string[] = [];
  lacking.hook_add(uc.HOOK_INTR, (handle: Unicorn, vector: number) => {
    vectors.push(`${vector} ${handle.reg_read_i64(uc.X86_REG_CR2).toString(16)}`);
    handle.mem_write(ROOT + 0x5f80n, [3]);
  });
  lacking.emu_start(CODE, CODE + 27, 0, 0);
  t.same(vectors, ['14 7fff0008'], 'a page fault is an interrupt hook');
  t.equal(lacking.reg_read_i64(uc.X86_REG_RBX), 42n, 'which may mend it');
  t.end();
});

t.test('contexts', (t) => {
  const e = open(uc.MODE_64, SUM);
  const context = e.context_alloc();
  e.emu_start(CODE, CODE + SUM.length, 0, 7);
  e.reg_write(
    uc.X86_REG_XMM3,
    Uint8Array.from({ length: 16 }, (_, i) => i),
  );
  e.context_save(context);
  const rip = e.reg_read_i64(uc.X86_REG_RIP);
  e.emu_start(rip, CODE + SUM.length, 0, 0);
  t.equal(e.reg_read_i64(uc.X86_REG_RAX), 55n);
  e.reg_write(uc.X86_REG_XMM3, new Uint8Array(16));
  e.context_restore(context);
  t.equal(e.reg_read_i64(uc.X86_REG_RAX), 19n);
  t.equal(e.reg_read_i64(uc.X86_REG_RIP), rip);
  t.equal(e.reg_read(uc.X86_REG_XMM3, 16)[15], 15);
  e.context_free(context);
  t.throws(() => e.context_restore(context), 'after context_free it holds nothing');
  t.end();
});

t.test('real mode with an interrupt hook for a BIOS call', (t) => {
  // mov ax, 0x0e41; int 0x10; mov al, 0x42; int 0x10; hlt
  const e = new uc.Unicorn(uc.ARCH_X86, uc.MODE_16);
  e.mem_map(0, 0x100000, uc.PROT_ALL);
  e.mem_write(0x7c00, [0xb8, 0x41, 0x0e, 0xcd, 0x10, 0xb0, 0x42, 0xcd, 0x10, 0xf4]);
  let text = '';
  e.hook_add(uc.HOOK_INTR, (handle: Unicorn, vector: number) => {
    if (vector === 0x10 && handle.reg_read_i8(uc.X86_REG_AH) === 0x0e) text += String.fromCharCode(handle.reg_read_i8(uc.X86_REG_AL));
  });
  e.emu_start(0x7c00, 0, 0, 0);
  t.equal(text, 'AB');
  t.equal(e.reg_read_i16(uc.X86_REG_IP), 0x7c0a);
  t.end();
});

t.test('hot loops run freely up to an address, a count, the clock or a stop', (t) => {
  // again: inc rax; jmp again
  const e = open(uc.MODE_64, [0x48, 0xff, 0xc0, 0xeb, 0xfb]);
  e.emu_start(CODE, 0, 0, 30_000_001);
  t.equal(e.reg_read_i64(uc.X86_REG_RAX), 15_000_001n);
  t.equal(e.query_i32(uc.QUERY_TIMEOUT), 0);
  e.emu_start(CODE, 0, 20 * uc.MILISECOND_SCALE, 0);
  t.equal(e.query_i32(uc.QUERY_TIMEOUT), 1, 'the clock ran out');
  e.emu_start(CODE, CODE + 3, 0, 0);
  t.equal(e.reg_read_i32(uc.X86_REG_EIP), CODE + 3);
  e.mem_write(CODE, [0x48, 0x89, 0x04, 0x25, 0, 0, 2, 0, 0x48, 0xff, 0xc0, 0xeb, 0xf3]); // again: mov [DATA], rax; inc rax; jmp again
  e.reg_write_i64(uc.X86_REG_RAX, 0);
  e.hook_add(
    uc.HOOK_MEM_WRITE,
    (handle: Unicorn, _: number, __: bigint, ___: number, value: bigint) => value === 1000n && handle.emu_stop(),
  );
  e.emu_start(CODE, 0, 0, 0);
  t.equal(e.reg_read_i64(uc.X86_REG_RAX), 1000n);
  t.end();
});

t.test('a failure is a string that names function, code and meaning', (t) => {
  const e = open(uc.MODE_64, [0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 9]);
  const message = (body: () => void): unknown => {
    try {
      body();
      return undefined;
    } catch (thrown) {
      return thrown;
    }
  };
  const failed = (name: string, code: number, text: string): string => `Unicorn.js: Function uc_${name} failed with code ${code}:\n${text}`;
  // biome-ignore format: a table
  const cases: [string, () => void, string][] = [
    ['architecture', () => new uc.Unicorn(uc.ARCH_ARM, uc.MODE_ARM), failed('open', 2, 'Invalid/unsupported architecture (UC_ERR_ARCH)')],
    ['mode',         () => new uc.Unicorn(uc.ARCH_X86, 1), failed('open', 4, 'Invalid mode (UC_ERR_MODE)')],
    ['alignment',    () => e.mem_map(0x1234, 0x1000, uc.PROT_ALL), failed('mem_map', 15, 'Invalid argument (UC_ERR_ARG)')],
    ['overlap',      () => e.mem_map(CODE, 0x1000, uc.PROT_ALL), failed('mem_map', 11, 'Invalid memory mapping (UC_ERR_MAP)')],
    ['unmap',        () => e.mem_unmap(0x9000_0000, 0x1000), failed('mem_unmap', 1, 'No memory available or memory not present (UC_ERR_NOMEM)')],
    ['protect',      () => e.mem_protect(CODE, 0x1000, 9), failed('mem_protect', 15, 'Invalid argument (UC_ERR_ARG)')],
    ['read',         () => e.mem_read(CODE + 0xfff, 2), failed('mem_read', 6, 'Invalid memory read (UC_ERR_READ_UNMAPPED)')],
    ['write',        () => e.mem_write(CODE + 0xfff, [1, 2]), failed('mem_write', 7, 'Invalid memory write (UC_ERR_WRITE_UNMAPPED)')],
    ['run',          () => e.emu_start(CODE, 0, 0, 0), failed('emu_start', 6, 'Invalid memory read (UC_ERR_READ_UNMAPPED)')],
    ['no integer',   () => e.emu_start(1.5, 0, 0, 0), failed('emu_start', 15, 'Invalid argument (UC_ERR_ARG)')],
    ['not a number', () => e.mem_map(Number.NaN, 0x1000, 7), failed('mem_map', 15, 'Invalid argument (UC_ERR_ARG)')],
    ['hook',         () => e.hook_add(uc.HOOK_TCG_OPCODE, () => {}), failed('hook_add', 9, 'Invalid hook type (UC_ERR_HOOK)')],
    ['instruction',  () => e.hook_add(uc.HOOK_INSN, () => {}, {}, 1, 0, uc.X86_INS_ADD), failed('hook_add', 9, 'Invalid hook type (UC_ERR_HOOK)')],
    ['callback',     () => e.hook_add(uc.HOOK_CODE, 5 as never), failed('hook_add', 15, 'Invalid argument (UC_ERR_ARG)')],
    ['query',        () => e.query_i32(99), failed('query', 15, 'Invalid argument (UC_ERR_ARG)')],
    ['exits',        () => e.ctl_get_exits_cnt(), failed('ctl', 15, 'Invalid argument (UC_ERR_ARG)')],
    ['too much memory', () => { e.mem_map(1n << 40n, 2 ** 31, uc.PROT_ALL); e.mem_read(1n << 40n, 2 ** 31 - 4096); }, failed('mem_read', 1, 'No memory available or memory not present (UC_ERR_NOMEM)')],
  ];
  for (const [what, body, expected] of cases) t.equal(message(body), expected, what);
  t.equal(e.errno(), uc.ERR_NOMEM);
  e.close();
  t.equal(
    message(() => e.reg_read_i64(uc.X86_REG_RAX)),
    failed('reg_read', 3, 'Invalid handle (UC_ERR_HANDLE)'),
    'after close',
  );
  t.equal(uc.strerror(99), 'Unknown error code');
  t.equal(uc.version(), 0x020001ff);
  t.same([uc.arch_supported(uc.ARCH_X86), uc.arch_supported(uc.ARCH_ARM)], [true, false]);
  t.end();
});

t.test("what a callback throws is the program's own", (t) => {
  const e = open(uc.MODE_64, [0x48, 0x8b, 0x04, 0x25, 0, 0, 2, 0, 0x90]);
  e.hook_add(uc.HOOK_MEM_READ, () => {
    throw new Error('mine');
  });
  t.throws(() => e.emu_start(CODE, CODE + 9, 0, 0), { message: 'mine' });
  e.hook_add(uc.HOOK_CODE, (handle: Unicorn) => handle.emu_stop());
  t.doesNotThrow(() => e.emu_start(CODE, CODE + 9, 0, 0), 'and the engine goes on');
  t.end();
});

/** Plays a scenario (record/scenarios.txt) on our Unicorn and prints what judge.c would. */
import MUnicorn, { type Context, type Hook, type Unicorn } from '../../emulator/unicorn/index.ts';

const uc = await MUnicorn();
const STORES: readonly number[] = [uc.MEM_WRITE, uc.MEM_WRITE_UNMAPPED, uc.MEM_WRITE_PROT, uc.MEM_READ_AFTER];

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const hex = (value: number | bigint): string => BigInt.asUintN(64, BigInt(value)).toString(16);

interface Player {
  hook: Hook | undefined;
  calls: number;
  result: number;
}

export function play(script: readonly string[]): string[] {
  const lines: string[] = [];
  const hooks: Player[] = [];
  const actions: { hook: number; call: number; line: string }[] = [];
  const context: Context = {};
  let engine: Unicorn | undefined;
  let current = -1;

  const react = (index: number): number => {
    const player = hooks[index]!;
    const outer = current;
    const call = ++player.calls;
    player.result = 0;
    current = index;
    for (const action of [...actions]) if (action.hook === index && (action.call === 0 || action.call === call)) run(`${action.line} `);
    current = outer;
    return player.result;
  };

  /** The code that a failing function's message names; 0 when it does not fail. */
  const codeOf = (body: () => void): number => {
    try {
      body();
      return 0;
    } catch (message) {
      const found = /^Unicorn\.js: Function uc_\w+ failed with code (\d+):\n/.exec(String(message));
      if (!found) throw message;
      return Number(found[1]);
    }
  };

  function addHook(index: number, type: number, begin: bigint, end: bigint, insn: number): void {
    const player: Player = { hook: undefined, calls: 0, result: 0 };
    const say = (text: string): number => {
      lines.push(`#${index} ${text}`);
      return react(index);
    };
    const callback = (...args: unknown[]): unknown => {
      const [, a, b, c, d] = args as (number | bigint)[];
      if (type & (uc.HOOK_CODE | uc.HOOK_BLOCK)) return say(`code ${hex(a!)} ${b}`);
      if (type & uc.HOOK_INTR) return say(`intr ${a}`);
      if (type & uc.HOOK_INSN_INVALID) return say('invalid') !== 0;
      if (type & uc.HOOK_INSN) {
        if (insn === uc.X86_INS_IN) return say(`in ${hex(a!)} ${b}`);
        return say(insn === uc.X86_INS_OUT ? `out ${hex(a!)} ${b} ${hex(c!)}` : 'insn') !== 0;
      }
      return say(`mem ${a} ${hex(b!)} ${c}${STORES.includes(a as number) ? ` ${hex(d!)}` : ''}`) !== 0;
    };
    hooks[index] = player;
    player.hook = engine!.hook_add(type, callback, {}, begin, end, insn);
  }

  function run(text: string): void {
    const words = text.trim().split(' ');
    const [name, ...rest] = words;
    const [a = 0n, b = 0n, c = 0n, d = 0n, e = 0n] = rest.map((word) => (/^(?:0x[0-9a-f]+|\d+)$/i.test(word) ? BigInt(word) : 0n));
    const e1 = engine as Unicorn;
    const answer = (value: string): void => void lines.push(`${text} ${value}`);
    let code = -1;
    const call = (body: () => void): void => {
      code = codeOf(body);
    };
    /** The answer's value instead of its code. */
    const ask = (body: () => string): void => {
      let value = '';
      call(() => {
        value = body();
      });
      if (code === 0) {
        answer(value);
        code = -2;
      }
    };
    switch (name) {
      case 'open':
        call(() => {
          engine = new uc.Unicorn(uc.ARCH_X86, Number(a), { memorySize: 4 << 20 });
        });
        break;
      case 'map':
        call(() => e1.mem_map(a, b, Number(c)));
        break;
      case 'unmap':
        call(() => e1.mem_unmap(a, b));
        break;
      case 'protect':
        call(() => e1.mem_protect(a, b, Number(c)));
        break;
      case 'write':
        call(() => e1.mem_write(a, Buffer.from(rest[1] ?? '', 'hex')));
        break;
      case 'read':
        ask(() => hexOf(e1.mem_read(a, b)));
        break;
      case 'rw':
        call(() => e1.reg_write(Number(a), Buffer.from(rest[1]!, 'hex')));
        break;
      case 'rr':
        ask(() => hexOf(e1.reg_read(Number(a), Number(b))));
        break;
      case 'hook':
        call(() => addHook(Number(a), Number(b), c, d, Number(e)));
        break;
      case 'unhook':
        call(() => e1.hook_del(hooks[Number(a)]!.hook!));
        break;
      case 'on':
        actions.push({ hook: Number(a), call: Number(b), line: rest.slice(2).join(' ') });
        return;
      case 'return':
        hooks[current]!.result = Number(a);
        return;
      case 'start':
        call(() => e1.emu_start(a, b, c, d));
        break;
      case 'stop':
        call(() => e1.emu_stop());
        break;
      case 'save':
        call(() => e1.context_save(context));
        break;
      case 'restore':
        call(() => e1.context_restore(context));
        break;
      case 'regions':
        call(() => {
          for (const { begin, end, perms } of e1.mem_regions()) lines.push(`region ${hex(begin)} ${hex(end)} ${perms}`);
        });
        break;
      case 'query':
        ask(() => hex(e1.query_i32(Number(a))));
        break;
      case 'ctl':
        ask(() => control(e1, rest[0]!, rest.slice(1)));
        break;
      default:
        throw new Error(`no such command: ${text}`);
    }
    if (code !== -2) lines.push(`${text} -> ${code}`);
  }

  for (const line of script) run(line);
  return lines.map((line) => line.replace(/ +/g, ' ').trimEnd());
}

function control(engine: Unicorn, what: string, args: readonly string[]): string {
  const number = Number(args[0] ?? 0);
  switch (what) {
    case 'mode':
      return hex(engine.ctl_get_mode());
    case 'arch':
      return hex(engine.ctl_get_arch());
    case 'page_size':
      return hex(engine.ctl_get_page_size());
    case 'set_page_size':
      engine.ctl_set_page_size(number);
      return '0';
    case 'timeout':
      return hex(engine.ctl_get_timeout());
    case 'exits_enable':
      engine.ctl_exits_enable();
      return '0';
    case 'exits_disable':
      engine.ctl_exits_disable();
      return '0';
    case 'exits_cnt':
      return hex(engine.ctl_get_exits_cnt());
    case 'exits':
      engine.ctl_set_exits(args.map(BigInt));
      return '0';
    case 'get_model':
      return hex(engine.ctl_get_cpu_model());
    case 'set_model':
      engine.ctl_set_cpu_model(number);
      return '0';
    case 'flush':
      engine.ctl_flush_tlb();
      return '0';
    case 'remove':
      engine.ctl_remove_cache(args[0]!.length, 0);
      return '0';
    default:
      throw new Error(`no such control: ${what}`);
  }
}

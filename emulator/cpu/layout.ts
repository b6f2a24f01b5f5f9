/**
 * Where everything lies in a CPU's WebAssembly memory, in order: register file, TLBs, jump cache, decoded records, the places
 * of processors that take turns, RAM.
 * Every offset of generated code comes from here.
 */

/** Record that stopped the loop. These four are the run's, whichever processor is on. */
export const STOP_RECORD = 0x3b0;
export const STOP_REASON = 0x3b4;
/** The detail of the reason: exception vector, or number of the system function. */
export const STOP_DETAIL = 0x3b8;
/** Instructions left in this slice when the loop stopped, or called something that it has no count of. */
export const REMAINING = 0x3bc;
/** Flags as the last region left them: its six locals (lazy_flags.ts), 8 bytes each. Outside regions they describe nothing. */
export const LEFT_FLAGS = 0x3c0;
/** Counts regions that were dropped: what a region has called may have dropped it. */
export const REGION_DROPS = 0x3f0;
/** EFER_SCE: the host performs SYSCALL within the loop (host_syscall.ts). */
export const HAS_HOST_SYSCALL = 0x3f4;
/** Instructions that no region has retired, in the last run of the loop. */
export const INTERPRETED = 0x3f8;
/** Register file. GPR offsets fit a byte, so that a record can name a register by `index * 8` (AH = 1, ... ). */
export const GPR = 0x400;
/** Reads as zero: the base or index of an address that has none. Relative to GPR it is 128. */
export const ZERO = GPR + 128;
export const XMM = 0x500;
/** x87/MMX registers, 16 bytes each: mantissa (8), sign and exponent (2). */
export const ST = 0x600;
export const STATE = 0x680;
export const RIP = STATE + 0x00;
/** Lazy flags: the sign-extended result, and the auxiliary word (flags.ts). */
export const FLAG_RESULT = STATE + 0x08;
export const FLAG_AUX = STATE + 0x10;
/** RFLAGS without OF SF ZF AF PF CF. */
export const FLAGS_REST = STATE + 0x14;
/** Address of the TLB set in use. */
export const TLB_SET = STATE + 0x28;
export const MXCSR = STATE + 0x2c;
/** x87: control, status, tag (full two-bit form), 2 bytes each; then last opcode; FIP and FDP. */
export const FCW = STATE + 0x30;
export const FSW = STATE + 0x32;
export const FTW = STATE + 0x34;
export const FOP = STATE + 0x36;
export const FIP = STATE + 0x38;
export const FDP = STATE + 0x40;
export const CPL = STATE + 0x48;
/** Direct branch that asked for a lookup, or 0; current generation of the jump cache. */
export const LINK_FROM = STATE + 0xf0;
export const JUMP_GENERATION = STATE + 0xf4;
/** Selectors that belong to FIP and FDP, 2 bytes each. */
export const FIP_SELECTOR = STATE + 0xf8;
export const FDP_SELECTOR = STATE + 0xfa;
/** Bit n: segment n may be written (outside 64-bit mode). */
export const SEG_WRITABLE = STATE + 0xfc;
/** What STAC makes TLB_SET: TLB_OPEN, or TLB_SUPERVISOR without SMAP. */
export const TLB_STAC = STATE + 0x104;
/** What holds interrupts back (state.ts, ACTIVITY_*). */
export const ACTIVITY = STATE + 0x100;
export const STATE_END = STATE + 0x108;
/** Segment bases by number (es cs ss ds fs gs), 8 bytes each; valid range of offsets for 32-bit accesses after them. */
export const SEG_BASE = STATE + 0x50;
export const SEG_LOW = STATE + 0x80;
export const SEG_HIGH = STATE + 0x98;
/** Arguments and results of helpers, 16 bytes each. */
export const ARGS = STATE + 0xb0;
/** Scratch for accesses that cross a page or have no RAM behind them: 64 bytes; stores to it are carried out by `split`. */
export const SCRATCH = 0x800;
export const SCRATCH_END = 0x840;
/** Stores use the upper half, so that a load that crosses does not lose its bytes to one. */
export const SCRATCH_WRITE = SCRATCH + 32;
/** System registers, 8 bytes each, by the SYS_* numbers. */
export const SYSTEM = 0x840;
export const SYS_CR0 = 0,
  SYS_CR2 = 1,
  SYS_CR3 = 2,
  SYS_CR4 = 3,
  SYS_CR8 = 4,
  SYS_EFER = 5,
  SYS_DR0 = 6,
  SYS_DR6 = 12,
  SYS_DR7 = 13,
  SYS_STAR = 14,
  SYS_LSTAR = 15,
  SYS_CSTAR = 16,
  SYS_SFMASK = 17,
  SYS_KERNEL_GS_BASE = 18,
  SYS_SYSENTER_CS = 19,
  SYS_SYSENTER_ESP = 20,
  SYS_SYSENTER_EIP = 21,
  SYS_PAT = 22,
  SYS_TSC_AUX = 23,
  SYS_GDT_BASE = 24,
  SYS_GDT_LIMIT = 25,
  SYS_IDT_BASE = 26,
  SYS_IDT_LIMIT = 27,
  /** Hidden parts of es cs ss ds fs gs ldtr tr: selector | attributes << 16 | limit << 32; bases of ldtr and tr after them. */
  SYS_SEGMENT = 28,
  SYS_LDTR_BASE = 36,
  SYS_TR_BASE = 37,
  SYS_APIC_BASE = 38,
  /** The four page-directory-pointer-table entries of PAE paging, as MOV CR3 loaded them. */
  SYS_PDPTE = 39,
  SYS_TSC_OFFSET = 43,
  /** 32.32 fixed point. */
  SYS_TSC_SCALE = 44,
  SYS_COUNT = 45;
/** Everything that a context saves: the architectural state. */
export const CONTEXT_START = GPR;
export const CONTEXT_END = SYSTEM + 8 * SYS_COUNT;

export const TLB_ENTRIES = 1024;
export const TLB_ENTRY_SIZE = 16;
export const TLB_KIND_SIZE = TLB_ENTRIES * TLB_ENTRY_SIZE;
/** Kinds in a set, in order. */
export const TLB_READ = 0;
export const TLB_WRITE = TLB_KIND_SIZE;
export const TLB_FETCH = 2 * TLB_KIND_SIZE;
export const TLB_SET_SIZE = 3 * TLB_KIND_SIZE;
/** The sets: CPL 3; below; below while RFLAGS.AC opens user pages that SMAP bars. */
export const TLB_USER = 0x10000;
export const TLB_SUPERVISOR = TLB_USER + TLB_SET_SIZE;
export const TLB_OPEN = TLB_SUPERVISOR + TLB_SET_SIZE;
export const TLB_END = TLB_OPEN + TLB_SET_SIZE;

export const JUMP_CACHE = TLB_END;
export const JUMP_CACHE_ENTRIES = 32768;
/** jump_cache.ts has the fields. */
export const JUMP_CACHE_ENTRY_SIZE = 16;
const JUMP_CACHE_END = JUMP_CACHE + JUMP_CACHE_ENTRIES * JUMP_CACHE_ENTRY_SIZE;

/** A decoded instruction: see record.ts. */
export const RECORD_SIZE = 32;
export const RECORDS = JUMP_CACHE_END;
export const RECORDS_END = RECORDS + 16 * 1024 * 1024;

/**
 * Beside every record, 8 bytes: the handler that ENTER stands in for (2), the block's number in its region (2), and the
 * table index of the region's function (4).
 */
export const SIDE = RECORDS_END;
const SIDE_END = SIDE + (RECORDS_END - RECORDS) / 4;

/** One for each processor (parked.ts has the fields). Their size has them lie differently to a cache's lines. */
export const PLACES = SIDE_END,
  PLACE_SIZE = 0x14b00,
  PLACE_COUNT = 256;
const PLACES_END = PLACES + PLACE_COUNT * PLACE_SIZE;

export const RAM = PLACES_END;
export const WASM_PAGE = 65536;
/** Of guests. */
export const PAGE_SIZE = 4096;

/** Fields of a record. */
export const R_HANDLER = 0;
export const R_FLAGS = 2;
export const R_SEGMENT = 3;
export const R_REG = 4;
export const R_RM = 5;
export const R_BASE = 6;
export const R_INDEX = 7;
export const R_DISP = 8;
/** Shift of the index; shares its place with the link, which only direct branches have. */
export const R_SCALE = 12;
export const R_LINK = 12;
export const R_IMM = 16;
export const R_RIP = 24;
/** RIP of the following instruction is the next record's. */
export const R_RIP_NEXT = RECORD_SIZE + R_RIP;

/** Handler numbers of the pseudo records (interpreter.ts); templates follow. */
export const HANDLER_GOTO = 1,
  HANDLER_LOOKUP = 2,
  HANDLER_ENTER = 3,
  FIRST_TEMPLATE = 4;

/** The function table: handlers of templates below, then regions; last the pseudo record of a host breakpoint. */
export const FIRST_REGION = 0x4000,
  MAX_REGIONS = 0x1000,
  HANDLER_BREAKPOINT = FIRST_REGION + MAX_REGIONS,
  TABLE_SIZE = HANDLER_BREAKPOINT + 1;

/** R_FLAGS bit: the block that this record starts spans two pages, so nobody may link to it. */
export const RECORD_NO_LINK = 1;

/** Bit of what a region gives back, beside a record: the interpreter runs the instruction there, or nobody does if it is 0. */
export const INTERPRET = 1;
/** Another: it has left the flags of an INC or DEC, which no region takes over. */
export const LEFT_STEP = 2;

/** Values of STOP_REASON. */
export const STOP_LOOKUP = 1;
export const STOP_EXCEPTION = 2;
export const STOP_SYSTEM = 3;
/** An exception that a helper or a TLB miss has already described to the CPU. */
export const STOP_PENDING = 4;
export const STOP_BREAKPOINT = 5;
/** What a system instruction did within the run is for the CPU to look at. */
export const STOP_NEWS = 6;

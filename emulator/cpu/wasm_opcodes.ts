/**
 * The WebAssembly instructions that lowering uses, with their encodings and types (WebAssembly core specification 5.4
 * and its SIMD section). `pure` ones neither trap nor touch memory, so the emitter may move them to their use.
 */
export type Ty = 'i32' | 'i64' | 'f32' | 'f64' | 'v128';

export interface WasmOpcode {
  readonly code: readonly number[];
  readonly params: readonly Ty[];
  readonly result: Ty | undefined;
  readonly pure: boolean;
  /** log2 of the natural alignment, for loads and stores. */
  readonly align: number;
  /** Takes a lane index (extract, replace). */
  readonly hasLane: boolean;
}

export const wasmOpcodes: ReadonlyMap<string, WasmOpcode> = new Map();

const table = wasmOpcodes as Map<string, WasmOpcode>;

/** Defines `names` with consecutive codes from `first`; '-' skips a code. */
function define(
  first: number,
  params: Ty[],
  result: Ty | undefined,
  names: string,
  options: Partial<WasmOpcode> & { simd?: boolean } = {},
): void {
  names.split(/\s+/).forEach((name, i) => {
    if (name === '-') return;
    const code = first + i;
    const bytes = options.simd ? [0xfd, ...(code < 0x80 ? [code] : [(code & 0x7f) | 0x80, code >> 7])] : [code];
    table.set(name, {
      code: bytes,
      params,
      result,
      pure: options.pure ?? true,
      align: options.align ?? 0,
      hasLane: options.hasLane ?? false,
    });
  });
}

const load = (code: number, ty: Ty, name: string, align: number, simd = false): void =>
  define(code, ['i32'], ty, name, { pure: false, align, simd });
const store = (code: number, ty: Ty, name: string, align: number, simd = false): void =>
  define(code, ['i32', ty], undefined, name, { pure: false, align, simd });

load(0x28, 'i32', 'i32.load', 2);
load(0x29, 'i64', 'i64.load', 3);
load(0x2d, 'i32', 'i32.load8_u', 0);
load(0x2f, 'i32', 'i32.load16_u', 1);
load(0x31, 'i64', 'i64.load8_u', 0);
load(0x33, 'i64', 'i64.load16_u', 1);
load(0x35, 'i64', 'i64.load32_u', 2);
store(0x36, 'i32', 'i32.store', 2);
store(0x37, 'i64', 'i64.store', 3);
store(0x3a, 'i32', 'i32.store8', 0);
store(0x3b, 'i32', 'i32.store16', 1);
store(0x3c, 'i64', 'i64.store8', 0);
store(0x3d, 'i64', 'i64.store16', 1);
store(0x3e, 'i64', 'i64.store32', 2);

define(0x45, ['i32'], 'i32', 'i32.eqz');
define(0x46, ['i32', 'i32'], 'i32', 'i32.eq i32.ne i32.lt_s i32.lt_u i32.gt_s i32.gt_u i32.le_s i32.le_u i32.ge_s i32.ge_u');
define(0x50, ['i64'], 'i32', 'i64.eqz');
define(0x51, ['i64', 'i64'], 'i32', 'i64.eq i64.ne i64.lt_s i64.lt_u i64.gt_s i64.gt_u i64.le_s i64.le_u i64.ge_s i64.ge_u');
define(0x5b, ['f32', 'f32'], 'i32', 'f32.eq f32.ne f32.lt f32.gt f32.le f32.ge');
define(0x61, ['f64', 'f64'], 'i32', 'f64.eq f64.ne f64.lt f64.gt f64.le f64.ge');
define(0x67, ['i32'], 'i32', 'i32.clz i32.ctz i32.popcnt');
define(0x6a, ['i32', 'i32'], 'i32', 'i32.add i32.sub i32.mul - - - - i32.and i32.or i32.xor i32.shl i32.shr_s i32.shr_u i32.rotl i32.rotr');
define(0x79, ['i64'], 'i64', 'i64.clz i64.ctz i64.popcnt');
define(0x7c, ['i64', 'i64'], 'i64', 'i64.add i64.sub i64.mul - - - - i64.and i64.or i64.xor i64.shl i64.shr_s i64.shr_u i64.rotl i64.rotr');
define(0x7f, ['i64', 'i64'], 'i64', 'i64.div_s i64.div_u i64.rem_s i64.rem_u', { pure: false });
define(0x8b, ['f32'], 'f32', 'f32.abs f32.neg f32.ceil f32.floor f32.trunc f32.nearest f32.sqrt');
define(0x92, ['f32', 'f32'], 'f32', 'f32.add f32.sub f32.mul f32.div f32.min f32.max f32.copysign');
define(0x99, ['f64'], 'f64', 'f64.abs f64.neg f64.ceil f64.floor f64.trunc f64.nearest f64.sqrt');
define(0xa0, ['f64', 'f64'], 'f64', 'f64.add f64.sub f64.mul f64.div f64.min f64.max f64.copysign');
define(0xa7, ['i64'], 'i32', 'i32.wrap_i64');
define(0xac, ['i32'], 'i64', 'i64.extend_i32_s i64.extend_i32_u');
define(0xb4, ['i64'], 'f32', 'f32.convert_i64_s');
define(0xb6, ['f64'], 'f32', 'f32.demote_f64');
define(0xb7, ['i32'], 'f64', 'f64.convert_i32_s');
define(0xb9, ['i64'], 'f64', 'f64.convert_i64_s');
define(0xbb, ['f32'], 'f64', 'f64.promote_f32');
define(0xbc, ['f32'], 'i32', 'i32.reinterpret_f32');
define(0xbd, ['f64'], 'i64', 'i64.reinterpret_f64');
define(0xbe, ['i32'], 'f32', 'f32.reinterpret_i32');
define(0xbf, ['i64'], 'f64', 'f64.reinterpret_i64');
define(0xc0, ['i32'], 'i32', 'i32.extend8_s i32.extend16_s');
define(0xc2, ['i64'], 'i64', 'i64.extend8_s i64.extend16_s i64.extend32_s');

load(0x00, 'v128', 'v128.load', 4, true);
load(0x5c, 'v128', 'v128.load32_zero', 2, true);
load(0x5d, 'v128', 'v128.load64_zero', 3, true);
store(0x0b, 'v128', 'v128.store', 4, true);
define(0x0e, ['v128', 'v128'], 'v128', 'i8x16.swizzle', { simd: true });
define(0x0f, ['i32'], 'v128', 'i8x16.splat i16x8.splat i32x4.splat', { simd: true });
define(0x12, ['i64'], 'v128', 'i64x2.splat', { simd: true });
define(0x13, ['f32'], 'v128', 'f32x4.splat', { simd: true });
define(0x14, ['f64'], 'v128', 'f64x2.splat', { simd: true });
define(0x15, ['v128'], 'i32', 'i8x16.extract_lane_s i8x16.extract_lane_u', { simd: true, hasLane: true });
define(0x17, ['v128', 'i32'], 'v128', 'i8x16.replace_lane', { simd: true, hasLane: true });
define(0x18, ['v128'], 'i32', 'i16x8.extract_lane_s i16x8.extract_lane_u', { simd: true, hasLane: true });
define(0x1a, ['v128', 'i32'], 'v128', 'i16x8.replace_lane', { simd: true, hasLane: true });
define(0x1b, ['v128'], 'i32', 'i32x4.extract_lane', { simd: true, hasLane: true });
define(0x1c, ['v128', 'i32'], 'v128', 'i32x4.replace_lane', { simd: true, hasLane: true });
define(0x1d, ['v128'], 'i64', 'i64x2.extract_lane', { simd: true, hasLane: true });
define(0x1e, ['v128', 'i64'], 'v128', 'i64x2.replace_lane', { simd: true, hasLane: true });
define(0x1f, ['v128'], 'f32', 'f32x4.extract_lane', { simd: true, hasLane: true });
define(0x20, ['v128', 'f32'], 'v128', 'f32x4.replace_lane', { simd: true, hasLane: true });
define(0x21, ['v128'], 'f64', 'f64x2.extract_lane', { simd: true, hasLane: true });
define(0x22, ['v128', 'f64'], 'v128', 'f64x2.replace_lane', { simd: true, hasLane: true });
const vv = (first: number, names: string): void => define(first, ['v128', 'v128'], 'v128', names, { simd: true });
const v = (first: number, names: string): void => define(first, ['v128'], 'v128', names, { simd: true });
const shift = (first: number, names: string): void => define(first, ['v128', 'i32'], 'v128', names, { simd: true });
vv(0x23, 'i8x16.eq i8x16.ne i8x16.lt_s i8x16.lt_u i8x16.gt_s i8x16.gt_u i8x16.le_s i8x16.le_u i8x16.ge_s i8x16.ge_u');
vv(0x2d, 'i16x8.eq i16x8.ne i16x8.lt_s i16x8.lt_u i16x8.gt_s i16x8.gt_u i16x8.le_s i16x8.le_u i16x8.ge_s i16x8.ge_u');
vv(0x37, 'i32x4.eq i32x4.ne i32x4.lt_s i32x4.lt_u i32x4.gt_s i32x4.gt_u i32x4.le_s i32x4.le_u i32x4.ge_s i32x4.ge_u');
vv(0x41, 'f32x4.eq f32x4.ne f32x4.lt f32x4.gt f32x4.le f32x4.ge f64x2.eq f64x2.ne f64x2.lt f64x2.gt f64x2.le f64x2.ge');
v(0x4d, 'v128.not');
vv(0x4e, 'v128.and v128.andnot v128.or v128.xor');
define(0x52, ['v128', 'v128', 'v128'], 'v128', 'v128.bitselect', { simd: true });
define(0x53, ['v128'], 'i32', 'v128.any_true', { simd: true });
v(0x5e, 'f32x4.demote_f64x2_zero f64x2.promote_low_f32x4 i8x16.abs i8x16.neg i8x16.popcnt');
define(0x63, ['v128'], 'i32', 'i8x16.all_true i8x16.bitmask', { simd: true });
vv(0x65, 'i8x16.narrow_i16x8_s i8x16.narrow_i16x8_u');
shift(0x6b, 'i8x16.shl i8x16.shr_s i8x16.shr_u');
vv(
  0x6e,
  'i8x16.add i8x16.add_sat_s i8x16.add_sat_u i8x16.sub i8x16.sub_sat_s i8x16.sub_sat_u - - i8x16.min_s i8x16.min_u i8x16.max_s i8x16.max_u - i8x16.avgr_u',
);
v(
  0x7c,
  'i16x8.extadd_pairwise_i8x16_s i16x8.extadd_pairwise_i8x16_u i32x4.extadd_pairwise_i16x8_s i32x4.extadd_pairwise_i16x8_u i16x8.abs i16x8.neg',
);
vv(0x82, 'i16x8.q15mulr_sat_s');
define(0x83, ['v128'], 'i32', 'i16x8.all_true i16x8.bitmask', { simd: true });
vv(0x85, 'i16x8.narrow_i32x4_s i16x8.narrow_i32x4_u');
v(0x87, 'i16x8.extend_low_i8x16_s i16x8.extend_high_i8x16_s i16x8.extend_low_i8x16_u i16x8.extend_high_i8x16_u');
shift(0x8b, 'i16x8.shl i16x8.shr_s i16x8.shr_u');
vv(
  0x8e,
  'i16x8.add i16x8.add_sat_s i16x8.add_sat_u i16x8.sub i16x8.sub_sat_s i16x8.sub_sat_u - i16x8.mul i16x8.min_s i16x8.min_u i16x8.max_s i16x8.max_u - i16x8.avgr_u',
);
vv(0x9c, 'i16x8.extmul_low_i8x16_s i16x8.extmul_high_i8x16_s i16x8.extmul_low_i8x16_u i16x8.extmul_high_i8x16_u');
v(0xa0, 'i32x4.abs i32x4.neg');
define(0xa3, ['v128'], 'i32', 'i32x4.all_true i32x4.bitmask', { simd: true });
v(0xa7, 'i32x4.extend_low_i16x8_s i32x4.extend_high_i16x8_s i32x4.extend_low_i16x8_u i32x4.extend_high_i16x8_u');
shift(0xab, 'i32x4.shl i32x4.shr_s i32x4.shr_u');
vv(
  0xae,
  'i32x4.add - - i32x4.sub - - - i32x4.mul i32x4.min_s i32x4.min_u i32x4.max_s i32x4.max_u i32x4.dot_i16x8_s - i32x4.extmul_low_i16x8_s i32x4.extmul_high_i16x8_s i32x4.extmul_low_i16x8_u i32x4.extmul_high_i16x8_u',
);
v(0xc0, 'i64x2.abs i64x2.neg');
define(0xc3, ['v128'], 'i32', 'i64x2.all_true i64x2.bitmask', { simd: true });
v(0xc7, 'i64x2.extend_low_i32x4_s i64x2.extend_high_i32x4_s i64x2.extend_low_i32x4_u i64x2.extend_high_i32x4_u');
shift(0xcb, 'i64x2.shl i64x2.shr_s i64x2.shr_u');
vv(
  0xce,
  'i64x2.add - - i64x2.sub - - - i64x2.mul i64x2.eq i64x2.ne i64x2.lt_s i64x2.gt_s i64x2.le_s i64x2.ge_s i64x2.extmul_low_i32x4_s i64x2.extmul_high_i32x4_s i64x2.extmul_low_i32x4_u i64x2.extmul_high_i32x4_u',
);
v(0x67, 'f32x4.ceil f32x4.floor f32x4.trunc f32x4.nearest');
v(0x74, 'f64x2.ceil f64x2.floor');
v(0x7a, 'f64x2.trunc');
v(0x94, 'f64x2.nearest');
v(0xe0, 'f32x4.abs f32x4.neg - f32x4.sqrt');
vv(0xe4, 'f32x4.add f32x4.sub f32x4.mul f32x4.div f32x4.min f32x4.max f32x4.pmin f32x4.pmax');
v(0xec, 'f64x2.abs f64x2.neg - f64x2.sqrt');
vv(0xf0, 'f64x2.add f64x2.sub f64x2.mul f64x2.div f64x2.min f64x2.max f64x2.pmin f64x2.pmax');
v(
  0xf8,
  'i32x4.trunc_sat_f32x4_s i32x4.trunc_sat_f32x4_u f32x4.convert_i32x4_s f32x4.convert_i32x4_u i32x4.trunc_sat_f64x2_s_zero i32x4.trunc_sat_f64x2_u_zero f64x2.convert_low_i32x4_s f64x2.convert_low_i32x4_u',
);

/** Saturates instead of trapping, NaN gives 0: pure. */
table.set('i64.trunc_sat_f64_s', { code: [0xfc, 0x06], params: ['f64'], result: 'i64', pure: true, align: 0, hasLane: false });

/** Takes 16 lane immediates; emitted by its own writer method. */
table.set('i8x16.shuffle', { code: [0xfd, 0x0d], params: ['v128', 'v128'], result: 'v128', pure: true, align: 0, hasLane: false });

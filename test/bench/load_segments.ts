/** Puts an ELF64's segments at their physical addresses; returns the entry point. For the bench kernels only: no checks. */
export function loadSegments(elf: Uint8Array, ram: Uint8Array): bigint {
  const view = new DataView(elf.buffer, elf.byteOffset, elf.byteLength);
  const headers = Number(view.getBigUint64(32, true));
  for (let i = 0; i < view.getUint16(56, true); i++) {
    const at = headers + i * view.getUint16(54, true);
    if (view.getUint32(at, true) !== 1) continue;
    const offset = Number(view.getBigUint64(at + 8, true));
    ram.set(elf.subarray(offset, offset + Number(view.getBigUint64(at + 32, true))), Number(view.getBigUint64(at + 24, true)));
  }
  return view.getBigUint64(24, true);
}

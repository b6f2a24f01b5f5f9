/** Guests of a few instructions, as images, for tests of what is done to guests rather than by them. */
import { makeImage } from './elf_image.ts';

const code = (hex: string): Buffer => makeImage({ code: Buffer.from(hex.replaceAll(' ', ''), 'hex') });

/** SCHEDOP_shutdown with that reason. */
const shutdown = (reason: number): Buffer => code(`b81d000000 bf02000000 488d3502000000 0f05 0${reason}000000`);

// biome-ignore format: a table
export const images: Readonly<Record<string, Uint8Array>> = {
  spin:      code('ebfe'),                                    // jmp self
  sleep:     code('b81d000000 bf01000000 0f05 ebf2'),         // SCHEDOP_block, again and again
  crash:     code('0f0b'),                                    // ud2 without a handler
  poweroff:  shutdown(0),
  reboot:    shutdown(1),
  registers: code('48b8f0debc9a78563412 ebfe'),               // mov rax, 0x123456789abcdef0; jmp self
  text:      Buffer.from('no kernel'),
};

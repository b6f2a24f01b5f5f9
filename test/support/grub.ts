/** Debian's GRUB for Xen PV guests, which nobody here wrote, and what it shows of a line typed at its prompt. */
import { existsSync } from 'node:fs';

export const GRUB = '/usr/lib/grub-xen/grub-x86_64-xen.bin';

export const grubIsMissing: string | false = existsSync(GRUB) ? false : `${GRUB} is not there: install the Debian package grub-xen-host`;

// biome-ignore lint/suspicious/noControlCharactersInRegex: a terminal's escape sequences begin with one
const ESCAPE = /\x1b\[[0-9;?]*[A-Za-z]/g;

/** What a person reads: no cursor movements, no colours, lines as they are. */
export const readable = (console: string): string => console.replaceAll(ESCAPE, '').replaceAll('\r', '');

/** How fast it read its configuration differs from run to run. */
export const withoutRate = (console: string): string => console.replace(/[\d.]+[KMG]?i?B\/s/, '?B/s');

/** What its command save_env keeps in a file: lines of `name=value`. */
export const environmentBlock = (...lines: string[]): string => ['# GRUB Environment Block', ...lines, ''].join('\n').padEnd(1024, '#');

/** A disk as xl.cfg writes it: `FILE[,ro]`, or more of xl's positional words behind FILE (`raw`, the name, `rw`). */
import { diskName, virtualDevice } from '../../hypercalls/block/device_tree.ts';

export interface DiskDescription {
  readonly path: string;
  /** `xvda` and so on. */
  readonly name: string;
  readonly isReadonly: boolean;
}

/** The disk, or what is wrong with the text. One without a name gets the next that none of `others` has. */
export function parseDisk(text: string, others: readonly DiskDescription[]): DiskDescription | string {
  const [path, ...words] = text.split(',').map((word) => word.trim());
  if (path === undefined || path === '') return 'Name a file: FILE, FILE,ro or FILE,raw,xvda,rw.';
  let name: string | undefined;
  let isReadonly = false;
  for (const word of words.filter((word) => word !== '' && word !== 'raw')) {
    if (/^(ro?|wr?|rw)$/.test(word)) isReadonly = word === 'r' || word === 'ro';
    else if (virtualDevice(word) !== undefined) name = word;
    else return `'${word}' is none of ro, rw, raw, or a name such as xvda.`;
  }
  const isTaken = (wanted: string): boolean => others.some((disk) => disk.name === wanted);
  if (name !== undefined && isTaken(name)) return `There is a disk ${name} already.`;
  for (let index = 0; name === undefined; index++) if (!isTaken(diskName(index))) name = diskName(index);
  return { path, name, isReadonly };
}

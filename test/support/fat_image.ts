/** A disk image with one partition, a FAT12 file system with a few files in its root: no tool makes it, every byte is here. */

const SECTOR = 512;
/** Where the partition begins, and its parts from there: boot sector, FAT, root directory, clusters of a sector each. */
const PARTITION = 8;
const FAT = 1;
const ROOT = 2;
const DATA = 3;
const SECTORS = 64;

export interface FatFile {
  /** `NAME    EXT`: 8 and 3 characters. */
  readonly name: string;
  readonly contents: string;
}

export function makeFatImage(files: readonly FatFile[]): Uint8Array {
  const image = Buffer.alloc((PARTITION + SECTORS) * SECTOR);
  image.set([0x80, 0, 9, 0, 0x01, 1, 8, 0], 446); // type 1: FAT12
  image.writeUInt32LE(PARTITION, 454);
  image.writeUInt32LE(SECTORS, 458);
  image.writeUInt16LE(0xaa55, 510);

  const volume = image.subarray(PARTITION * SECTOR);
  volume.set([0xeb, 0x3c, 0x90], 0);
  volume.write('BENEATH ', 3, 'latin1');
  volume.writeUInt16LE(SECTOR, 11);
  volume[13] = 1; // sectors in a cluster
  volume.writeUInt16LE(FAT, 14);
  volume[16] = 1; // copies of the FAT
  volume.writeUInt16LE(SECTOR / 32, 17);
  volume.writeUInt16LE(SECTORS, 19);
  volume[21] = 0xf8;
  volume.writeUInt16LE(ROOT - FAT, 22);
  volume.writeUInt16LE(32, 24);
  volume.writeUInt16LE(2, 26);
  volume.writeUInt32LE(PARTITION, 28);
  volume.set([0x80, 0, 0x29, 1, 2, 3, 4], 36);
  volume.write('NO NAME    FAT12   ', 43, 'latin1');
  volume.writeUInt16LE(0xaa55, 510);

  const link = (cluster: number, next: number): void => {
    const at = FAT * SECTOR + cluster + (cluster >> 1);
    const shift = (cluster & 1) * 4;
    volume.writeUInt16LE((volume.readUInt16LE(at) & ~(0xfff << shift)) | (next << shift), at);
  };
  link(0, 0xff8);
  link(1, 0xfff);
  let cluster = 2;
  for (const [i, { name, contents }] of files.entries()) {
    const entry = ROOT * SECTOR + i * 32;
    volume.write(name, entry, 'latin1');
    volume[entry + 11] = 0x20;
    volume.writeUInt16LE(cluster, entry + 26);
    volume.writeUInt32LE(contents.length, entry + 28);
    volume.write(contents, (DATA + cluster - 2) * SECTOR, 'latin1');
    for (let left = contents.length; left > 0; left -= SECTOR) {
      link(cluster, left > SECTOR ? cluster + 1 : 0xfff);
      cluster++;
    }
  }
  return image;
}

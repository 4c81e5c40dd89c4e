// Reads what is in a ZIP, by its directory at the end: enough for the files that an export holds.
import { inflateRawSync } from 'node:zlib';

/** The files of a ZIP by name. */
export function unzip(bytes: Buffer): Map<string, string> {
  const end = bytes.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'));
  if (end < 0) throw new Error('no ZIP');
  const files = new Map<string, string>();
  let at = bytes.readUInt32LE(end + 16);
  for (let left = bytes.readUInt16LE(end + 10); left > 0; left -= 1) {
    const [name, extra, comment] = [28, 30, 32].map((offset) => bytes.readUInt16LE(at + offset));
    const local = bytes.readUInt32LE(at + 42);
    const start = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    const stored = bytes.readUInt16LE(at + 10) === 0;
    const data = stored ? bytes.subarray(start, start + bytes.readUInt32LE(at + 20)) : inflateRawSync(bytes.subarray(start));
    files.set(bytes.toString('utf8', at + 46, at + 46 + name), data.toString('utf8'));
    at += 46 + name + extra + comment;
  }
  return files;
}

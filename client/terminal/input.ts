/** What comes in through a pipe or from a file the user names, bounded. */
import { open } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { fromUtf8 } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { named } from '../home/durable.ts'

/** All of a stream as text. @throws ERR_TOO_LARGE, ERR_MALFORMED when it is not UTF-8 */
export async function readInput(stream: Readable, maxBytes: number): Promise<string> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of stream as AsyncIterable<Uint8Array | string>) {
    const bytes = Buffer.from(part)
    length += bytes.length
    if (length > maxBytes)
      throw new MarketError('ERR_TOO_LARGE', `the input is larger than ${maxBytes} bytes`)
    parts.push(bytes)
  }
  return fromUtf8(Buffer.concat(parts))
}

/** All of a file as text. @throws ERR_NOT_FOUND, and as `readInput` */
export async function readNamed(path: string, maxBytes: number): Promise<string> {
  const file = await named(path, open(path, 'r'))
  return readInput(file.createReadStream(), maxBytes) // which closes it
}

/** Adverts in a file (docs/protocol.md §12.8): the text of one on each line. */
import { randomBytes } from 'node:crypto'
import { open, readFile, rename, rm, stat } from 'node:fs/promises'
import { decodeAdvert } from '../advert.ts'
import { toHex } from '../bytes.ts'
import { MarketError } from '../errors.ts'
import type { AdvertChannel } from './channel.ts'
import { documentBytes, linesOf } from './document.ts'

export class FileChannel implements AdvertChannel {
  readonly #path: string
  /** Its own writes, one after another; another program that writes at the same moment may win. */
  #written: Promise<void> = Promise.resolve()

  constructor(path: string) {
    this.#path = path
  }

  /** Replaces the advert of the same relay, and keeps those of others. The file is replaced as a whole, and made where there is none. */
  publish(text: string): Promise<void> {
    const written = this.#written.then(() => this.#replace(text))
    this.#written = written.catch(() => {})
    return written
  }

  async *read(): AsyncGenerator<string> {
    yield* linesOf(await this.#load())
  }

  async close(): Promise<void> {
    await this.#written
  }

  async #replace(text: string): Promise<void> {
    const { serverPubKey } = decodeAdvert(text).advert
    const field = `"serverPubKey":"${serverPubKey}"`
    const others = [...linesOf((await this.#load({ orNothing: true })) ?? '')].filter(
      (line) => !line.includes(field),
    )
    const content = [...others, text, ''].join('\n')
    if (Buffer.byteLength(content) > documentBytes)
      throw new MarketError('ERR_TOO_LARGE', `${this.#path} has no room for another advert`)
    await writeWhole(this.#path, content).catch((cause) => {
      throw new MarketError('ERR_BUSY', `${this.#path} cannot be written`, { cause })
    })
  }

  async #load({ orNothing = false } = {}): Promise<string> {
    try {
      if ((await stat(this.#path)).size > documentBytes)
        throw new MarketError('ERR_TOO_LARGE', `${this.#path} has more than ${documentBytes} bytes`)
      return await readFile(this.#path, 'utf8')
    } catch (cause) {
      if (orNothing && (cause as NodeJS.ErrnoException).code === 'ENOENT') return ''
      if (cause instanceof MarketError) throw cause
      throw new MarketError('ERR_BUSY', `${this.#path} cannot be read`, { cause })
    }
  }
}

/** On disk when it resolves; a reader sees the old file or the new one. */
async function writeWhole(path: string, content: string): Promise<void> {
  const part = `${path}.${toHex(randomBytes(4))}.part`
  const file = await open(part, 'wx', 0o644)
  try {
    await file.writeFile(content)
    await file.sync()
    await file.close()
    await rename(part, path)
  } catch (error) {
    await file.close().catch(() => {})
    await rm(part, { force: true })
    throw error
  }
}

/**
 * A backup as bytes: eight that name the format, then lines of canonical JSON, compressed, and encrypted by BRC-2 to
 * oneself. The first line says whose it is and how new; one for each row; the last one counts and hashes them all.
 */
import { createHash } from 'node:crypto'
import { promisify } from 'node:util'
import { deflate, inflate } from 'node:zlib'
import { z } from 'zod'
import { concat, equal, fromUtf8, toUtf8 } from '../../../market/bytes.ts'
import { canonicalize } from '../../../market/canonical.ts'
import { MarketError } from '../../../market/errors.ts'
import { Hash, Key, Milliseconds } from '../../../market/units.ts'
import { Network } from '../../chain/chain.ts'
import { Row } from '../coins/batch.ts'
import { Counter, Recovery } from '../coins/rows.ts'
import type { KeyName, KeyWallet } from '../key-wallet.ts'

export const backupLimits = {
  /** Encrypted: about half a million transactions. */
  bytes: 512 << 20,
  /** Before it is compressed; all of it is in memory for a moment. */
  textBytes: 1 << 30,
} as const

const format = toUtf8('RELAYWB1')
const keyName: KeyName = { protocolID: [2, 'relay wallet backup'], keyID: '1', counterparty: 'self' }

export const Counts = z.record(Counter, z.int().min(0))
export type Counts = z.infer<typeof Counts>

export const BackupHeader = z.strictObject({
  version: z.literal(1),
  identity: Key,
  network: Network,
  /** Of two backups of one wallet the one with the greater number is the newer one. */
  sequence: z.int().min(1),
  taken: Milliseconds,
  counts: Counts,
  recovery: Recovery.optional(),
})
export type BackupHeader = z.infer<typeof BackupHeader>

const End = z.strictObject({ rows: z.int().min(0), sha256: Hash })

export interface Backup {
  readonly header: BackupHeader
  readonly rows: readonly Row[]
}

/** The text of a backup, line by line: what is taken while nobody else may write. */
export class BackupText {
  readonly #hash = createHash('sha256')
  readonly #parts: Uint8Array[] = []
  #bytes = 0
  #rows = 0

  constructor(header: BackupHeader) {
    this.#line(header)
  }

  /** @throws ERR_TOO_LARGE */
  add(row: Row): void {
    this.#line(row)
    this.#rows++
  }

  async seal(keys: KeyWallet): Promise<Uint8Array> {
    const sha256 = this.#hash.copy().digest('hex')
    const end = toUtf8(`${canonicalize({ rows: this.#rows, sha256 })}\n`)
    // Mostly hex, which the fastest level halves as well as any.
    const compressed = await promisify<Uint8Array, object, Buffer>(deflate)(concat(...this.#parts, end), {
      level: 1,
    })
    const bytes = concat(format, keys.encryptBytes(compressed, keyName))
    if (bytes.length > backupLimits.bytes) throw tooLarge()
    return bytes
  }

  #line(value: unknown): void {
    const line = toUtf8(`${canonicalize(value)}\n`)
    this.#bytes += line.length
    if (this.#bytes > backupLimits.textBytes) throw tooLarge()
    this.#hash.update(line)
    this.#parts.push(line)
  }
}

/**
 * A whole backup of this key, as it was written.
 * @throws ERR_MALFORMED when it is damaged, cut off or of another key; ERR_CONFLICT when it is of another network;
 * ERR_TOO_LARGE
 */
export async function readBackup(
  bytes: Uint8Array,
  { keys, network }: { keys: KeyWallet; network: Network },
): Promise<Backup> {
  if (bytes.length > backupLimits.bytes) throw tooLarge()
  if (!equal(bytes.subarray(0, format.length), format)) throw malformed('it does not begin like one')
  const { header, rows } = readText(await open(bytes.subarray(format.length), keys))
  if (header.identity !== keys.identity)
    throw new MarketError('ERR_CONFLICT', `this backup is of ${header.identity}, not of ${keys.identity}`)
  if (header.network !== network)
    throw new MarketError('ERR_CONFLICT', `this backup is of the network ${header.network}, not ${network}`)
  return { header, rows }
}

async function open(sealed: Uint8Array, keys: KeyWallet): Promise<Buffer> {
  try {
    return await promisify<Uint8Array, object, Buffer>(inflate)(keys.decryptBytes(sealed, keyName), {
      maxOutputLength: backupLimits.textBytes + 1024,
    })
  } catch (cause) {
    throw malformed('it is damaged, cut off, or of another key', cause)
  }
}

function readText(text: Buffer): Backup {
  const last = text.lastIndexOf('\n', text.length - 2) + 1
  const lines = linesOf(text.subarray(0, last))
  try {
    const end = End.parse(JSON.parse(fromUtf8(text.subarray(last, -1))))
    const hash = createHash('sha256').update(text.subarray(0, last)).digest('hex')
    const header = BackupHeader.parse(lines.next().value)
    const rows = Array.from(lines, (line) => Row.parse(line))
    if (end.sha256 === hash && end.rows === rows.length) return { header, rows }
  } catch (cause) {
    throw malformed('its text is not that of this version', cause)
  }
  throw malformed('its rows are not those that were written')
}

function* linesOf(text: Buffer): Generator<unknown> {
  for (let from = 0; from < text.length; ) {
    const to = text.indexOf('\n', from)
    // Not held to the bounds of messages: it is our own text, and one transaction may have very many outputs.
    yield JSON.parse(fromUtf8(text.subarray(from, to)))
    from = to + 1
  }
}

const tooLarge = (): MarketError => new MarketError('ERR_TOO_LARGE', 'a backup of so many coins is too large')
const malformed = (what: string, cause?: unknown): MarketError =>
  new MarketError('ERR_MALFORMED', `not a backup of this wallet: ${what}`, { cause })

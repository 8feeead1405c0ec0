/**
 * Bitcoin transactions as values. A transaction is never changed: a new one is made, so that its bytes and its id are
 * always those of what it says.
 */
import { concat, fromHex, toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { doubleSha256 } from '../../market/hash.ts'

/** Lower-case hex in the order that people and programs show: the reverse of the hash. */
export type Txid = string

export interface Outpoint {
  readonly txid: Txid
  readonly vout: number
}

export interface Input extends Outpoint {
  /** Unlocking; empty until it is signed. */
  readonly script: Uint8Array
  readonly sequence: number
}

export interface Output {
  readonly satoshis: number
  /** Locking. */
  readonly script: Uint8Array
}

export interface Transaction {
  readonly version: number
  readonly inputs: readonly Input[]
  readonly outputs: readonly Output[]
  readonly lockTime: number
}

export const finalSequence = 0xffffffff
/** Of nothing: what a coinbase spends, and what the first block stands on. */
export const nullTxid: Txid = '0'.repeat(64)
/** All the satoshi there will ever be. */
export const allSatoshi = 21e14
/** What one transaction may weigh here; nothing we make or buy comes near it. */
export const transactionBytes = 4 << 20

/**
 * The one transaction that these bytes are, every one of them.
 * @throws ERR_MALFORMED for bytes left over, numbers that are not in their shortest form, amounts beyond all coins, no
 * inputs or no outputs
 */
export function parseTransaction(bytes: Uint8Array): Transaction {
  const reader = new Reader(bytes)
  const transaction = readTransaction(reader)
  reader.end()
  return transaction
}

/** `parseTransaction` of what a reader stands before; it stands behind it then. */
export function readTransaction(reader: Reader): Transaction {
  const version = reader.uint32()
  const inputs: Input[] = []
  for (let left = reader.count(41); left > 0; left--) {
    const txid = txidOfHash(reader.bytes(32))
    inputs.push({ txid, vout: reader.uint32(), script: reader.varBytes(), sequence: reader.uint32() })
  }
  const outputs: Output[] = []
  for (let left = reader.count(9); left > 0; left--) {
    outputs.push({ satoshis: reader.satoshis(), script: reader.varBytes() })
  }
  if (inputs.length === 0 || outputs.length === 0) throw malformed('without inputs or outputs')
  return { version, inputs, outputs, lockTime: reader.uint32() }
}

export function serializeTransaction({ version, inputs, outputs, lockTime }: Transaction): Uint8Array {
  const parts: Uint8Array[] = [uint32(version), compactSize(inputs.length)]
  for (const { txid, vout, script, sequence } of inputs)
    parts.push(hashOfTxid(txid), uint32(vout), compactSize(script.length), script, uint32(sequence))
  parts.push(compactSize(outputs.length))
  for (const output of outputs) parts.push(serializeOutput(output))
  parts.push(uint32(lockTime))
  return concat(...parts)
}

export const serializeOutput = ({ satoshis, script }: Output): Uint8Array =>
  concat(uint64(satoshis), compactSize(script.length), script)

export const txidOf = (transaction: Transaction | Uint8Array): Txid =>
  txidOfHash(
    doubleSha256(transaction instanceof Uint8Array ? transaction : serializeTransaction(transaction)),
  )

export const txidOfHash = (hash: Uint8Array): Txid => toHex(Uint8Array.from(hash).reverse())
export const hashOfTxid = (txid: Txid): Uint8Array => fromHex(txid).slice().reverse()

/** `TXID.VOUT`, as BRC-100 writes an outpoint. */
export const formatOutpoint = ({ txid, vout }: Outpoint): string => `${txid}.${vout}`

/** @throws ERR_MALFORMED */
export function parseOutpoint(text: string): Outpoint {
  const match = /^([0-9a-f]{64})\.(0|[1-9][0-9]{0,8})$/.exec(text)
  if (match === null) throw new MarketError('ERR_MALFORMED', 'an outpoint is TXID.VOUT')
  return { txid: match[1]!, vout: Number(match[2]) } // by the pattern
}

/** Reads what nodes write. Every read throws ERR_MALFORMED when the bytes end before it does. */
export class Reader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get at(): number {
    return this.#at
  }

  /** A view, not a copy. */
  bytes(length: number): Uint8Array {
    const from = this.#take(length)
    return this.#bytes.subarray(from, from + length)
  }

  uint8(): number {
    return this.#view.getUint8(this.#take(1))
  }

  uint32(): number {
    return this.#view.getUint32(this.#take(4), true)
  }

  satoshis(): number {
    const satoshis = this.#view.getBigUint64(this.#take(8), true)
    if (satoshis > BigInt(allSatoshi)) throw malformed('an amount beyond all coins there will be')
    return Number(satoshis)
  }

  compactSize(): number {
    const first = this.uint8()
    if (first < 0xfd) return first
    const [size, least] =
      first === 0xfd
        ? [this.#view.getUint16(this.#take(2), true), 0xfd]
        : first === 0xfe
          ? [this.uint32(), 0x10000]
          : [Number(this.#view.getBigUint64(this.#take(8), true)), 0x100000000]
    if (size < least) throw malformed('a number that is not in its shortest form')
    return size
  }

  /** How many things follow that take `least` bytes each: never more than there can be. */
  count(least: number): number {
    const count = this.compactSize()
    if (count * least > this.#bytes.length - this.#at) throw malformed('more is announced than there is')
    return count
  }

  varBytes(): Uint8Array {
    return this.bytes(this.compactSize())
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw malformed('bytes are left over')
  }

  #take(length: number): number {
    const from = this.#at
    if (from + length > this.#bytes.length) throw malformed('it ends too early')
    this.#at = from + length
    return from
  }
}

export function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value, true)
  return bytes
}

export function uint64(value: number): Uint8Array {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true)
  return bytes
}

export function compactSize(size: number): Uint8Array {
  if (size < 0xfd) return Uint8Array.of(size)
  if (size < 0x10000) return Uint8Array.of(0xfd, size & 0xff, size >>> 8)
  if (size < 0x100000000) return concat(Uint8Array.of(0xfe), uint32(size))
  return concat(Uint8Array.of(0xff), uint64(size))
}

const malformed = (what: string): MarketError =>
  new MarketError('ERR_MALFORMED', `not a transaction as nodes write it: ${what}`)

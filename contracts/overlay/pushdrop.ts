/**
 * Tokens of overlays as the sdk's PushDrop makes them (BRC-48): fields and a signature over them, locked to a key that
 * everybody can derive from the identity that made it. Spent: revoked. One form, every byte of it: a second script for the
 * same token would be a second token.
 */
import { concat, equal, fromHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { sha256 } from '../../market/hash.ts'
import { childPublicKey } from '../../market/identity.ts'
import { verify } from '../../market/secp256k1.ts'
import type { Key } from '../../market/units.ts'
import type { Signer } from '../transaction/sign.ts'
import { op, push } from '../transaction/script.ts'
import { Reader } from '../transaction/transaction.ts'

export interface PushDrop {
  readonly lock: Uint8Array
  /** Without the signature. */
  readonly fields: readonly Uint8Array[]
  readonly signature: Uint8Array
}

const limits = { scriptBytes: 2048, fields: 16 } as const

const drop = 0x75
const drop2 = 0x6d
const lockBytes = 1 + 33 + 1

/** A token of these fields, its lock first. @param signer see `KeyWallet.openKey` */
export function pushDropScript(fields: readonly Uint8Array[], signer: Signer): Uint8Array {
  const all = [...fields, signer.sign(sha256(concat(...fields)))]
  return concat(lockScript(signer.publicKey), dropScript(all))
}

/** Undefined for every script of another form; nothing of it is verified. */
export function readPushDrop(
  script: Uint8Array,
  mostBytes: number = limits.scriptBytes,
): PushDrop | undefined {
  if (script.length < lockBytes + 2 || script.length > mostBytes) return undefined
  // BRC-48 has the lock at the end, the sdk at the beginning.
  const halves = [
    { locking: script.subarray(0, lockBytes), dropping: script.subarray(lockBytes) },
    { locking: script.subarray(-lockBytes), dropping: script.subarray(0, -lockBytes) },
  ]
  for (const { locking, dropping } of halves) {
    if (locking[0] !== 33 || locking[34] !== op.checkSig) continue
    const all = droppedBy(dropping)
    if (all === undefined || all.length < 2) continue
    return { lock: locking.subarray(1, 34), fields: all.slice(0, -1), signature: all.at(-1)! }
  }
  return undefined
}

/** Whether this identity made it: the lock is its key under this invoice number with counterparty anyone, and that key signed. */
export function isLinked({ lock, fields, signature }: PushDrop, identity: Key, invoice: string): boolean {
  return equal(lock, openKeyOf(identity, invoice)) && verify(signature, sha256(concat(...fields)), lock)
}

/** The child of an identity that everybody can derive. @throws ERR_MALFORMED for a key that is no point on the curve */
export function openKeyOf(identity: Key, invoice: string): Uint8Array {
  const publicKey = fromHex(identity)
  // With counterparty `anyone`, whose private key is 1, the shared point is the identity itself.
  return childPublicKey(publicKey, publicKey, invoice)
}

const lockScript = (publicKey: Uint8Array): Uint8Array => concat(push(publicKey), Uint8Array.of(op.checkSig))

function dropScript(fields: readonly Uint8Array[]): Uint8Array {
  const drops = new Uint8Array(Math.ceil(fields.length / 2)).fill(drop2)
  if (fields.length % 2 === 1) drops[drops.length - 1] = drop
  return concat(...fields.map(pushField), drops)
}

/** As `push`; one byte that has no opcode of its own is pushed too. */
const pushField = (field: Uint8Array): Uint8Array =>
  field.length === 1 ? concat(Uint8Array.of(1), field) : push(field)

function droppedBy(script: Uint8Array): Uint8Array[] | undefined {
  const reader = new Reader(script)
  const fields: Uint8Array[] = []
  try {
    for (let at = script[0]; at !== drop && at !== drop2; at = script[reader.at]) {
      if (fields.length === limits.fields) return undefined
      fields.push(readPush(reader))
    }
  } catch (error) {
    if (error instanceof MarketError) return undefined
    throw error
  }
  return isPlain(fields) && equal(script, dropScript(fields)) ? fields : undefined
}

/** Numbers up to 16 and -1 have opcodes of their own, and are no field of any token here. */
const isPlain = (fields: readonly Uint8Array[]): boolean =>
  fields.every((field) => field.length > 1 || (field.length === 1 && field[0]! > 16 && field[0] !== 0x81))

function readPush(reader: Reader): Uint8Array {
  const first = reader.uint8()
  if (first > 0 && first < op.pushData1) return reader.bytes(first)
  if (first === op.pushData1) return reader.bytes(reader.uint8())
  if (first === op.pushData2) return reader.bytes(reader.uint8() + 256 * reader.uint8())
  throw new MarketError('ERR_MALFORMED', 'not a push')
}

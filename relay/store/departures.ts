/**
 * Messages on their way to the hosts of their recipient (docs/protocol.md §14.4), and which messages other hosts have brought: as
 * operations on a batch. A departure is written with the record that is kept meanwhile, and goes with the last of its hosts.
 */
import type { SignedMessage } from '../../contracts/overlay/propagation.ts'
import { sha256 } from '../../market/hash.ts'
import { dayMs, type Hash, type Key } from '../../market/units.ts'
import type { Host } from '../../contracts/overlay/host.ts'
import type { Batch } from './batch.ts'
import { bytesOfKey } from './codec.ts'
import * as keys from './keys.ts'
import { pack, unpack } from './packed.ts'
import type { Reader } from './postings.ts'
import type { Store } from './store.ts'

export interface Departure {
  /** Of the record that is kept meanwhile: it names the departure. */
  readonly place: number
  readonly owner: Key
  readonly recordId: string
  readonly sender: Key
  readonly recipient: Key
  readonly box: string
  readonly messageId: string
  readonly at: number
  /** Given up then. */
  readonly until: number
  /** The recipient lives here as well: the record stays when all hosts have it. */
  readonly staysHere: boolean
  /** Satoshi that its hosts may cost, all together. */
  readonly budget: number
  /** Who has not got it yet. */
  readonly hosts: readonly Host[]
  /** Who has it, by domain. */
  readonly delivered: readonly string[]
  /** Who refused it for good. */
  readonly refused: readonly { readonly domain: string; readonly code: string }[]
  /** The payment that came with it, for this message alone. */
  readonly txid?: Hash
  /** Its sender was told that it is on its way. */
  readonly isTold: boolean
  readonly message: SignedMessage
}

/** How long a message that a host brought is not taken again, if need be long after it was acknowledged. */
export const rememberedMs = 400 * dayMs

export function putDeparture(batch: Batch, { message, ...facts }: Departure): void {
  const { signed, ...proof } = message
  batch.put(keys.departureKey(facts.place), pack({ ...facts, message: proof }, signed))
}

export function findDeparture(from: Reader, place: number): Departure | undefined {
  const value = from.get(keys.departureKey(place))
  return value && decode(value)
}

export const dropDeparture = (batch: Batch, place: number): void => batch.del(keys.departureKey(place))

const pageRows = 64

/** In the order of places. */
export async function* allDepartures(store: Pick<Store, 'scan'>): AsyncGenerator<Departure> {
  const scan = store.scan(keys.allDepartures)
  try {
    for (let page = await scan.next(pageRows); page.length > 0; page = await scan.next(pageRows))
      for (const [, value] of page) yield decode(value)
  } finally {
    await scan.close()
  }
}

function decode(value: Buffer): Departure {
  const { json, bytes } = unpack(value)
  const { message, ...facts } = json as Departure
  return { ...facts, message: { ...message, signed: bytes } }
}

/** What its sender signed, as it was for this recipient. */
export const broughtHash = (sender: Key, digest: Uint8Array, recipient: Key): Hash =>
  Buffer.from(sha256(bytesOfKey(sender), digest, bytesOfKey(recipient))).toString('hex')

export const wasBrought = (from: Reader, hash: Hash): boolean => from.get(keys.broughtKey(hash)) !== undefined

/** Remembers that it was brought. */
export function putBrought(batch: Batch, hash: Hash): void {
  batch.put(keys.broughtKey(hash), Buffer.alloc(0))
  batch.put(keys.broughtUntilKey(batch.now + rememberedMs, hash), Buffer.alloc(0))
}

/** The sweeper's: `key` is of those that `keys.broughtBefore` bounds. */
export function dropBrought(batch: Batch, key: Buffer): void {
  batch.del(key)
  batch.del(keys.broughtKey(keys.hashOfBroughtUntil(key)))
}

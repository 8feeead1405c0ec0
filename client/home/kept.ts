/** What audits need of our records: of those in the outbox, and, once they are forgotten, of those in the journal. */
import { formatPath } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import { readText, remove } from './durable.ts'
import type { Home } from './home.ts'
import { append, type Kept } from './journal.ts'
import { type Entry, fileOf, hashesOf, mayHold, proofsOf, recordFile, recordOf, refusalOf } from './outbox.ts'

/** Lines of the journal that are in memory together. */
const forgottenAtOnce = 128

/**
 * Forgets records and all that is known of them but for what audits need, which goes to the journal first. Each record
 * goes last, so a crash leaves no orphan marks behind it.
 */
export async function forget(home: Home, ...all: readonly Entry[]): Promise<void> {
  if (all.length === 0) return
  const owner = (await home.me()).msg.from
  for (let start = 0; start < all.length; start += forgottenAtOnce) {
    const some = all.slice(start, start + forgottenAtOnce)
    for (const relay of new Set(some.flatMap((entry) => [...mayHold(entry)]))) {
      const its = await Promise.all(some.map((entry) => keptOf(home, entry, { owner, relay })))
      await append(
        home,
        relay,
        its.filter((one) => one !== undefined),
      )
    }
    for (const entry of some) {
      await Promise.all(entry.marks.map((name) => remove(home.path('outbox', name))))
      await remove(recordFile(home, entry))
    }
  }
}

/** Whose records, and where. */
export interface Whose {
  readonly owner: Key
  readonly relay: Key
}

/** A record as an audit of `relay` needs it; undefined where the relay surely never had it. */
export async function keptOf(home: Home, entry: Entry, { owner, relay }: Whose): Promise<Kept | undefined> {
  const { id, expires, to } = entry
  if (!mayHold(entry).has(relay) || (await isSurelyRefused(home, entry, relay))) return undefined
  const record = await recordOf(home, entry).catch(() => undefined) // damaged: its receipt says what matters
  const { tag = '', bilateralPulls = 0 } = record?.msg.request ?? {}
  const [receipt, gone] = await Promise.all(
    ['receipt', 'gone'].map((kind) => readText(fileOf(home, id, relay, kind))),
  )
  return {
    path: formatPath({ owner, receiver: to, recordId: id }),
    bytes: record?.content.length ?? damaged.bytes,
    sent: record?.msg.timestamp ?? 0,
    ...{ expires, maxPulls: record?.maxPulls ?? damaged.maxPulls, tag, bilateralPulls },
    deleted: entry.deleted,
    receipt: receipt || null,
    gone: gone || null, // an older mark is empty
    acks: hashesOf(entry, relay, 'ack'),
    proofs: await proofsOf(home, entry, relay),
  }
}

/** What cannot be read any more may be whatever its relay says. */
const damaged = { bytes: 2 ** 30, maxPulls: 2 ** 30 } as const

/** A no that a relay may give to a record it took before, when its answer was lost. */
const laterRefusals = ['ERR_EXPIRED', 'ERR_CONFLICT']

async function isSurelyRefused(home: Home, { id, accepted, refused }: Entry, relay: Key): Promise<boolean> {
  if (accepted.has(relay) || !refused.has(relay)) return false
  const refusal = await refusalOf(home, id, relay)
  return refusal !== undefined && !laterRefusals.includes(refusal.code)
}

/** On how many relays records are kept, and which relays are asked last for a while, because they did not do what they should. */
import { z } from 'zod'
import type { RelayAddress } from '../../market/address.ts'
import { Key, Milliseconds, protocolLimits } from '../../market/units.ts'
import { codeOf } from '../errors.ts'
import { readJson, writeDurably } from './durable.ts'
import type { Home } from './home.ts'

/** How long a relay is asked last. */
export const restMs = {
  /** It did not answer, or slower than others. */
  silent: 600_000,
  /** What it answered cannot be true, or it does not hold what it signed for. */
  lying: 86_400_000,
} as const

const Copies = z.int().min(1).max(protocolLimits.relaysPerRecord)

export const Redundancy = z.strictObject({
  /** How many relays get each record; null: all own ones. */
  keep: Copies.nullable(),
  /** How many of them must have signed for a record before it is delivered. */
  quorum: Copies,
})
export type Redundancy = z.infer<typeof Redundancy>

export const redundancy = async (home: Home): Promise<Redundancy> =>
  (await readJson(settingsFile(home), Redundancy)) ?? { keep: null, quorum: 1 }

export const saveRedundancy = (home: Home, settings: Redundancy): Promise<void> =>
  writeDurably(settingsFile(home), JSON.stringify(Redundancy.parse(settings)))

const Trouble = z.strictObject({ relay: Key, until: Milliseconds })
const Troubles = z.array(Trouble)
/** Of those that end last. */
const mostTroubles = 1000

/** Notes what a relay failed with, where that says something of the relay. What is not remembered costs time and nothing else. */
export async function noteTrouble(home: Home, relay: Key, error: unknown, now: number): Promise<void> {
  const code = codeOf(error)
  if (code === 'ERR_UNREACHABLE') await rest(home, relay, now + restMs.silent, now)
  if (code === 'ERR_UNTRUSTED') await rest(home, relay, now + restMs.lying, now)
}

/** Has a relay asked last until then. */
export async function rest(home: Home, relay: Key, until: number, now: number): Promise<void> {
  const known = await troubles(home, now)
  const held = known.find((one) => one.relay === relay)
  // The same trouble, noted by many requests at once, is written once.
  if (held !== undefined && held.until >= until - restMs.silent / 2) return
  const others = known.filter((one) => one.relay !== relay)
  const kept = [...others, { relay, until }].sort((a, b) => a.until - b.until).slice(-mostTroubles)
  await writeDurably(troublesFile(home), JSON.stringify(kept), { sync: false }).catch(() => undefined)
}

/** The same relays, those in trouble last; otherwise in their order. */
export async function bestFirst<A extends RelayAddress>(
  home: Home,
  relays: readonly A[],
  now: number,
): Promise<A[]> {
  if (relays.length < 2) return [...relays]
  const last = new Set((await troubles(home, now)).map(({ relay }) => relay))
  return [...relays.filter(({ key }) => !last.has(key)), ...relays.filter(({ key }) => last.has(key))]
}

async function troubles(home: Home, now: number): Promise<z.infer<typeof Troubles>> {
  // Damaged, it says nothing of anybody.
  const known = (await readJson(troublesFile(home), Troubles).catch(() => undefined)) ?? []
  return known.filter(({ until }) => until > now)
}

const settingsFile = (home: Home): string => home.path('redundancy.json')
const troublesFile = (home: Home): string => home.path('troubles.json')

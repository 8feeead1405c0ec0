/**
 * The market as this home knows it: which channels are read, whose adverts came, how probes went, what audits found. It is for
 * choosing relays, and for nothing else: what is lost here costs no record and no satoshi.
 */
import { z } from 'zod'
import { advertLimits } from '../../market/advert.ts'
import { Key, Milliseconds, Prices } from '../../market/units.ts'
import { readJournal, readJson, writeDurably } from './durable.ts'
import type { Home } from './home.ts'

export const marketLimits = {
  channels: 32,
  channelLength: 512,
  blocked: 10_000,
  /** Relays whose adverts, and whose probes, are kept. */
  relays: 10_000,
  probed: 2000,
  /** Of each relay, the newest. */
  probes: 20,
  addresses: 8,
} as const

const MarketSettings = z.strictObject({
  /** Null: the boards of the own relays. */
  channels: z.array(z.string().max(marketLimits.channelLength)).max(marketLimits.channels).nullable(),
  blocked: z.array(Key).max(marketLimits.blocked),
})
type MarketSettings = z.infer<typeof MarketSettings>

export const marketSettings = async (home: Home): Promise<MarketSettings> =>
  (await readJson(fileOf(home, 'settings.json'), MarketSettings)) ?? { channels: null, blocked: [] }

export const saveMarketSettings = (home: Home, settings: MarketSettings): Promise<void> =>
  writeDurably(fileOf(home, 'settings.json'), JSON.stringify(MarketSettings.parse(settings)))

const SavedAdvert = z.strictObject({
  advert: z.string().max(advertLimits.textBytes),
  /** When the first advert of this relay came here. */
  seen: Milliseconds,
  /** Channels that had this very advert. */
  channels: z.array(z.string().max(marketLimits.channelLength)).max(marketLimits.channels),
})
export type SavedAdvert = z.infer<typeof SavedAdvert>

export const savedAdverts = (home: Home): Promise<SavedAdvert[]> =>
  readJournal(fileOf(home, 'adverts.jsonl'), SavedAdvert)

/** A crash may undo it: channels have it all again. */
export const saveAdverts = (home: Home, all: readonly SavedAdvert[]): Promise<void> =>
  writeDurably(
    fileOf(home, 'adverts.jsonl'),
    all
      .slice(0, marketLimits.relays)
      .map((one) => `${JSON.stringify(one)}\n`)
      .join(''),
    { sync: false },
  )

/** How a relay's key answered at its address. */
const SavedProbe = z.strictObject({
  at: Milliseconds,
  /** Null: it did not answer. */
  ms: z.int().min(0).nullable(),
  /** What it failed with. */
  code: z.string().max(64).nullable(),
})
type SavedProbe = z.infer<typeof SavedProbe>

const Probed = z.strictObject({
  probes: z.array(SavedProbe).max(marketLimits.probes),
  addresses: z.array(z.string().max(64)).max(marketLimits.addresses),
  /** The key that answered there in its place, as it said unsigned. */
  another: Key.nullable(),
  /** The prices that it signed last. */
  quoted: z.strictObject({ at: Milliseconds, prices: Prices }).nullable(),
})
export type Probed = z.infer<typeof Probed>

const AllProbed = z.record(Key, Probed)

export const savedProbes = async (home: Home): Promise<ReadonlyMap<Key, Probed>> =>
  new Map(Object.entries((await readJson(fileOf(home, 'probes.json'), AllProbed)) ?? {}))

/** Adds one probe of each of these relays; of too many relays those are forgotten that were probed longest ago. */
export async function noteProbes(
  home: Home,
  noted: ReadonlyMap<Key, Omit<Probed, 'probes'> & { readonly probe: SavedProbe }>,
): Promise<void> {
  await home.lock('market-probes', async () => {
    const all = new Map(await savedProbes(home))
    for (const [key, { probe, addresses, ...found }] of noted) {
      const before = all.get(key)
      const probes = [...(before?.probes ?? []), probe].slice(-marketLimits.probes)
      const quoted = found.quoted ?? before?.quoted ?? null
      const places = addresses.length > 0 ? addresses : (before?.addresses ?? [])
      all.set(key, { ...found, quoted, addresses: places.slice(0, marketLimits.addresses), probes })
    }
    const last = ({ probes }: Probed) => probes.at(-1)?.at ?? 0
    const newest = [...all].sort(([, a], [, b]) => last(b) - last(a)).slice(0, marketLimits.probed)
    await writeDurably(fileOf(home, 'probes.json'), JSON.stringify(Object.fromEntries(newest)), {
      sync: false,
    })
  })
}

const Forged = z.record(Key, z.array(Milliseconds))

/** When audits of a relay's bills found forged claims. */
export const forgedBills = async (home: Home): Promise<ReadonlyMap<Key, readonly number[]>> =>
  new Map(Object.entries((await readJson(fileOf(home, 'forged.json'), Forged)) ?? {}))

/** Kept for good: who was caught once is not chosen again. */
export async function noteForged(home: Home, relay: Key, at: number): Promise<void> {
  await home.lock('market-forged', async () => {
    const all = Object.fromEntries(await forgedBills(home))
    const times = [...(all[relay] ?? []), at].slice(-marketLimits.probes)
    await writeDurably(fileOf(home, 'forged.json'), JSON.stringify({ ...all, [relay]: times }))
  })
}

const fileOf = (home: Home, name: string): string => home.path('market', name)

/** How far purses were audited, and what came of it: what the next audit begins with. */
import { z } from 'zod'
import { PurseName } from '../../contracts/account.ts'
import { Cursor } from '../../contracts/api.ts'
import type { Seen, Standing, UnsettledRecord } from '../../contracts/audit/books.ts'
import { Path } from '../../market/record.ts'
import { Hash, type Key, Milliseconds, Prices } from '../../market/units.ts'
import { namesIn, readJson, writeDurably } from './durable.ts'
import { hashOf, type Home } from './home.ts'

const Sum = z.string().regex(/^[0-9]{1,60}$/)
const SavedStanding = z.object({
  seq: z.int().min(0),
  chain: Hash,
  at: Milliseconds,
  page: z.string().optional(),
  listed: Sum,
  acknowledged: Sum,
  forged: Sum,
  hasGap: z.boolean(),
  settledBefore: z.array(z.object({ prices: Prices, byteMs: Sum, egress: Sum, ingress: Sum, unproven: Sum })),
  proofsBefore: z.int().min(0),
  unprovenPullsBefore: z.int().min(0),
})
const SavedSeen = z.object({
  seq: z.int().min(1),
  bytes: z.int().min(1),
  at: Milliseconds,
  re: Hash.nullable(),
  purse: PurseName,
})

/** One purse after an audit that found nothing forged. */
const SavedAudit = z.object({
  purse: PurseName,
  /** Where its report ended. */
  cursor: Cursor,
  standing: SavedStanding,
  /** What was listed of records that are not folded into the sums: path, `at` of the receipt, pulls. */
  seen: z.array(z.tuple([Path, Milliseconds, z.array(SavedSeen)])),
  /** Records of this purse that ended up to here are in the sums of the standing. */
  foldedEnd: Milliseconds,
  /** Satoshi of reads bought with it, at most, up to the moment on the relay's clock when that was looked at. */
  bought: z.int().min(0),
  boughtAt: Milliseconds.default(0),
  /** Likewise of messages in boxes. */
  boxed: z.int().min(0).default(0),
  /** As it was said last. */
  verdict: z.enum(['explained', 'unproven']),
  claimed: z.int().min(0),
  supported: z.int().min(0),
  toPay: z.int().min(0),
})
export interface SavedAudit extends Omit<z.infer<typeof SavedAudit>, 'standing' | 'seen'> {
  readonly standing: Standing
  readonly seen: [path: string, at: number, pulls: Seen[]][]
}

/** Of a relay's journal, the part that no audit looks at any more, and what there is without a receipt in it. */
const Passed = z.object({
  offset: z.int().min(0),
  /** How far we know what renewals have extended. */
  extended: Cursor.optional(),
  unsettled: z.array(
    z.object({
      path: Path,
      bytes: z.int().min(1),
      firstSent: z.int(),
      expires: Milliseconds,
      maxPulls: z.int().min(1),
    }),
  ),
})
export interface Passed {
  readonly offset: number
  readonly extended?: Cursor | undefined
  readonly unsettled: readonly UnsettledRecord[]
}

export const savedAudit = async (home: Home, relay: Key, purse: string): Promise<SavedAudit | undefined> =>
  (await readJson(fileOf(home, relay, purse), SavedAudit)) as SavedAudit | undefined // the schema has the same fields

/** How many purses of each relay were audited with which verdict; what was forged is kept elsewhere (market.ts). @throws ERR_DAMAGED */
export async function savedVerdicts(
  home: Home,
): Promise<ReadonlyMap<Key, Readonly<Record<SavedAudit['verdict'], number>>>> {
  const verdicts = new Map<Key, Record<SavedAudit['verdict'], number>>()
  for (const name of await namesIn(home.path('audits'))) {
    const [, relay] = /^([0-9a-f]{66})\.[0-9a-z]+\.json$/.exec(name) ?? []
    const saved = relay === undefined ? undefined : await readJson(home.path('audits', name), SavedAudit)
    if (relay === undefined || saved === undefined) continue
    const counts = verdicts.get(relay) ?? { explained: 0, unproven: 0 }
    verdicts.set(relay, { ...counts, [saved.verdict]: counts[saved.verdict] + 1 })
  }
  return verdicts
}

export const saveAudit = (home: Home, relay: Key, audit: SavedAudit): Promise<void> =>
  writeDurably(fileOf(home, relay, audit.purse), JSON.stringify(audit))

export const passed = async (home: Home, relay: Key): Promise<Passed> =>
  (await readJson(home.path('audits', `${relay}.json`), Passed)) ?? { offset: 0, unsettled: [] }

export const savePassed = (home: Home, relay: Key, all: Passed): Promise<void> =>
  writeDurably(home.path('audits', `${relay}.json`), JSON.stringify(all))

/** Where the pages of a report wait to be read, some gigabytes of them perhaps. */
export const pagesFile = (home: Home, relay: Key, purse: string): string =>
  home.path('audits', `${relay}.${named(purse)}.pages`)

const fileOf = (home: Home, relay: Key, purse: string): string =>
  home.path('audits', `${relay}.${named(purse)}.json`)

/** A relay chooses the names of its purses, but not of our files. */
const named = (purse: string): string => (/^[a-z0-9]{1,64}$/.test(purse) ? purse : hashOf(purse))

/** What people who are followed say of relays, in public posts; and what we could say ourselves (docs/protocol.md §12.10). */
import {
  decodeObservation,
  type Hearsay,
  type Observation,
  observationLimits,
  type Observed,
} from '../../market/observation.ts'
import type { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { feedItems } from '../feeds/feed.ts'
import { type OwnEvidence, ownEvidence } from './history.ts'

const hearsayLimits = {
  /** The newest public posts that are looked through. */
  posts: 1000,
} as const

/** The subject of such a post, for people. */
export const observationSubject = 'relays, as I saw them'

/** All that is here, by relay; nobody is asked, and private channels are not public. @throws ERR_DAMAGED */
export async function hearsay(ctx: Context): Promise<ReadonlyMap<Key, Hearsay[]>> {
  const heard = new Map<Key, Hearsay[]>()
  for (const item of await feedItems(ctx, { limit: hearsayLimits.posts })) {
    if (item.state !== 'here' || item.channel !== undefined || item.payload.type !== 'post') continue
    if (item.from === ctx.wallet.identity) continue
    const observation = decodeObservation(item.payload.text)
    for (const observed of observation?.relays ?? []) {
      const one = { from: item.from, at: observation!.at, observed } // it has some
      heard.set(observed.relay, [...(heard.get(observed.relay) ?? []), one])
    }
  }
  return heard
}

/** What we saw ourselves, of the relays that we know most of; undefined where we know nothing. Amounts and friends are not in it. */
export async function ownObservation({
  home,
  now,
}: Pick<Context, 'home' | 'now'>): Promise<Omit<Observation, 'type' | 'v'> | undefined> {
  const all = [...(await ownEvidence(home))].map(([relay, evidence]) => observedOf(relay, evidence))
  const weight = ({ probes, kept, broken, explained, forged }: Observed) =>
    probes + 10 * (kept + broken + explained + forged)
  const relays = all
    .filter((one) => weight(one) > 0)
    .sort((a, b) => weight(b) - weight(a) || (a.relay < b.relay ? -1 : 1))
    .slice(0, observationLimits.relays)
  return relays.length === 0 ? undefined : { at: now(), relays }
}

function observedOf(relay: Key, { probes, contracts, audits }: OwnEvidence): Observed {
  const { asked, answered, latencyMs } = probes
  const most = (count: number) => Math.min(count, observationLimits.count)
  return {
    relay,
    ...{ probes: asked, answered, latencyMs },
    ...{ kept: most(contracts.kept), broken: most(contracts.broken) },
    ...{ explained: most(audits.explained), forged: most(audits.forged) },
  }
}

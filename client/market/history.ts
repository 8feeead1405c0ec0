/** What we know of relays ourselves: probes, contracts, audits; and how we use relays, from our own journal. */
import { type Evidence, noEvidence } from '../../market/factors.ts'
import { dayMs, type Key } from '../../market/units.ts'
import { type PastRecord, patternOf, type UsagePattern } from '../../market/usage-pattern.ts'
import type { Context } from '../context.ts'
import { savedVerdicts } from '../home/audits.ts'
import { type KeptContract, keptContracts, termsOf } from '../home/contracts.ts'
import type { Home } from '../home/home.ts'
import { journalOf, type Kept } from '../home/journal.ts'
import { keptOf } from '../home/kept.ts'
import { forgedBills, type Probed, savedProbes } from '../home/market.ts'
import { entries } from '../home/outbox.ts'
import { ownRelays } from '../people/relays.ts'

const historyLimits = {
  /** Records of so long ago say how we use relays. */
  patternMs: 30 * dayMs,
  /** Of each relay; the newest of the journal stand last. */
  records: 200_000,
  /** Fewer say nothing of a habit: a home that was just made has a backup of its coins, and a try or two. */
  leastRecords: 20,
} as const

/** Own evidence, without opinions. */
export type OwnEvidence = Omit<Evidence, 'firstSeen' | 'opinion'>

/** Of every relay that we ever had to do with. @throws ERR_DAMAGED */
export async function ownEvidence(home: Home): Promise<ReadonlyMap<Key, OwnEvidence>> {
  const [probes, contracts, forged, verdicts] = await Promise.all([
    savedProbes(home),
    keptContracts(home),
    forgedBills(home),
    savedVerdicts(home),
  ])
  const byRelay = new Map<Key, KeptContract[]>()
  for (const kept of contracts) {
    const { server } = termsOf(kept)
    byRelay.set(server, [...(byRelay.get(server) ?? []), kept])
  }
  const relays = new Set([...probes.keys(), ...byRelay.keys(), ...forged.keys(), ...verdicts.keys()])
  const { audits: none } = noEvidence(0)
  return new Map(
    [...relays].map((relay) => {
      const its = byRelay.get(relay) ?? []
      const disputed = its.filter(({ heard }) => heard?.verdict === 'forged').length
      const audits = { ...none, ...verdicts.get(relay) }
      const caught = Math.max(disputed, forged.get(relay)?.length ?? 0)
      return [
        relay,
        {
          probes: countProbes(probes.get(relay)),
          contracts: countContracts(its),
          audits: { ...audits, forged: caught },
        },
      ]
    }),
  )
}

function countProbes(probed: Probed | undefined): Evidence['probes'] {
  if (probed === undefined) return noEvidence(0).probes
  const times = probed.probes.flatMap(({ ms }) => (ms === null ? [] : [ms])).sort((a, b) => a - b)
  return {
    asked: probed.probes.length,
    answered: times.length,
    isLastAnswered: probed.probes.at(-1)?.ms != null,
    latencyMs: times[Math.floor((times.length - 1) / 2)] ?? null,
    another: probed.another,
    quoted: probed.quoted,
  }
}

/** Had back by time: the relay did not settle. Ended by the relay alone, as it may at the end, says nothing. */
function countContracts(all: readonly KeptContract[]): Evidence['contracts'] {
  const counts = { open: 0, kept: 0, broken: 0 }
  for (const { state } of all) {
    if (state.state === 'active' || state.state === 'closing') counts.open += 1
    else if (state.state === 'disputed' || state.state === 'refunded') counts.broken += 1
    else if (state.state === 'closed') {
      const { kind } = state.spend.end
      if (kind === 'unknown' || state.was.state === 'disputed') counts.broken += 1
      else if (kind !== 'progress') counts.kept += 1
    }
  }
  return counts
}

/** How we used relays lately, each record once on however many it lies; undefined when we hardly did. @throws ERR_DAMAGED */
export async function ownPattern(
  ctx: Pick<Context, 'home' | 'now' | 'wallet'>,
): Promise<UsagePattern | undefined> {
  const { home, wallet } = ctx
  const since = ctx.now() - historyLimits.patternMs
  const found = new Map<string, PastRecord>()
  const add = ({ path, bytes, sent, expires, acks }: Kept) => {
    if (sent < since || found.size >= historyLimits.records) return
    found.set(path, { bytes, sent, expires, pulls: Math.max(acks.length, found.get(path)?.pulls ?? 0) })
  }
  const waiting = [...(await entries(home)).values()]
  for (const { key: relay } of await ownRelays(ctx)) {
    for await (const { line } of journalOf(home, relay)) if ('path' in line) add(line)
    for (const entry of waiting) {
      const kept = await keptOf(home, entry, { owner: wallet.identity, relay })
      if (kept !== undefined) add(kept)
    }
  }
  return found.size < historyLimits.leastRecords ? undefined : patternOf([...found.values()], ctx.now())
}

/** What a server keeps of what the client signs, and what it makes of it when it has to close. */
import { type CreditPolicy, closeAlone } from './amounts.ts'
import type { Signed } from './machine.ts'
import { demand } from './refusal.ts'
import { canExpire, type Terms } from './terms.ts'
import { type LiveServer, mostKeptStates, type Payment } from './server-state.ts'

/** Settled, here and in the contract before. */
export const earnedBy = ({ settled, earnedBefore }: LiveServer): number => (settled?.paid ?? 0) + earnedBefore

/** The highest progress that the client signed. */
export const highest = ({ progress }: LiveServer): number => progress.at(-1)?.paid ?? 0

/** The highest amounts that the client signed; none where there is no money. */
export const signedIn = (live: LiveServer | undefined): { paid: number; settled: number } => ({
  paid: live === undefined ? 0 : highest(live),
  settled: live?.settled?.paid ?? 0,
})

/** Amounts only grow: what is lower was replaced. @throws `paid`, `settled` */
export function withPayment(live: LiveServer, { paid, sig, settled, settledSig }: Payment): LiveServer {
  demand(paid >= highest(live), 'paid', `${highest(live)} satoshi were paid before`)
  const last = live.settled?.paid ?? 0
  demand(settled >= last, 'settled', `${last} satoshi were settled before`)
  const progress = paid > highest(live) ? thinned([...live.progress, { paid, sig }]) : live.progress
  return signedAs({ ...live, progress }, { paid: settled, sig: settledSig })
}

/** A settled that the client signed, if it is the highest. */
export function signedAs<L extends LiveServer>(live: L, { paid, sig }: Signed): L {
  return paid > (live.settled?.paid ?? -1) ? { ...live, settled: { paid, sig } } : live
}

/** Without the states that what is owed has overtaken; the highest stays. */
export const pruned = (live: LiveServer, owed: number): LiveServer => ({
  ...live,
  progress: live.progress.filter(({ paid }, at) => paid >= owed || at === live.progress.length - 1),
})

/** Never more than are kept: without the one that is nearest below another. */
function thinned(progress: readonly Signed[]): Signed[] {
  if (progress.length <= mostKeptStates) return [...progress]
  let nearest = 0
  const gap = (at: number): number => progress[at + 1]!.paid - progress[at]!.paid // `at` is not the last
  for (let at = 1; at < progress.length - 1; at++) if (gap(at) < gap(nearest)) nearest = at
  return progress.toSpliced(nearest, 1)
}

/** Asks the client to end it for what is owed, which it may publish from then on. */
export function requested(live: LiveServer & { state: 'active' | 'disputed' }, owed: number): LiveServer {
  const asked = Math.min(owed, live.terms.budget)
  const lowestSigned = Math.min(live.lowestSigned ?? asked, asked)
  return { ...live, state: 'closing', asked, lowestSigned, publish: null }
}

/** Goes over into the next: no end was chosen. */
export function renewing(live: LiveServer, { terms, paid }: { terms: Terms; paid: number }): LiveServer {
  const { state: _, asked: __, publish: ___, ...facts } = { asked: null, publish: null, ...live }
  return { ...facts, state: 'active', renewal: { terms, paid, isGivenUp: false } }
}

/** The end that the server publishes without the client, by the one fixed rule (amounts.ts). */
export function alone(live: LiveServer, owed: number, policy: CreditPolicy): LiveServer {
  const { terms, settled, progress } = live
  const amounts = { owed, settled: settled?.paid ?? 0, progress: progress.map(({ paid }) => paid) }
  const end = closeAlone(terms, policy, amounts)
  const covering = progress.find(({ paid }) => end?.kind === 'progress' && paid === end.paid)
  // Without expiry nothing comes by itself: settled(0) is better than to wait.
  const isSettled = end?.kind === 'settled' || (end === undefined && !canExpire(terms))
  const signed = isSettled ? settled : covering
  const kind = isSettled ? ('settled' as const) : ('progress' as const)
  const publish = signed ? { kind, ...signed } : ('wait' as const)
  const asked = live.state === 'closing' ? live.asked : null
  return { ...live, state: 'closing', asked, publish }
}

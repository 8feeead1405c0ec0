/** Contracts as they are lived (bench/flow/): honest users are served, and nobody gains by cheating more than the bounds say. */
import type { Bench, Figure, Part } from './figures.ts'
import { clientStrategies } from './flow/dishonest-clients.ts'
import { relayStrategies } from './flow/dishonest-relays.ts'
import { habits, live } from './flow/honest.ts'

const seed = 20_261_121
/** Of the writes of honest users, at least. */
const leastAccepted = 0.95
/** Refused one after another: more would be a standstill. */
const mostRefused = 48

async function measure(bench: Bench): Promise<Figure[]> {
  bench.note(`honest users, seed ${seed}`)
  const honest = habits.map((habit): Figure => {
    const { name, offered, accepted, longestRefused, used, earned, endings } = live(habit, seed)
    const isServed = accepted >= leastAccepted * offered && longestRefused <= mostRefused
    const met =
      (isServed || habit.isTooMuch === true) && endings === 'settled' && Math.abs(earned - used) <= 2
    const text = `${accepted} of ${offered}; used ${used}, paid ${earned}`
    const value = { amount: (100 * accepted) / offered, unit: '%' }
    return { what: `honest: ${name}`, value, target: { text, met, isBinding: true } }
  })
  bench.note('dishonest ones')
  const dishonest = [...clientStrategies(), ...relayStrategies()].map(
    ({ strategy, who, gain, bound, loss, lossBound }): Figure => {
      const met = gain <= bound && loss <= lossBound
      const text = `≤ ${bound}; other ${-loss} ≥ ${-lossBound}`
      return {
        what: `${who}: ${strategy}`,
        value: { amount: gain, unit: 'sat' },
        target: { text, met, isBinding: true },
      }
    },
  )
  return [...honest, ...dishonest]
}

export const flowParts: readonly Part[] = [
  { name: 'flow', about: 'contracts lived by honest and dishonest pairs, simulated', run: measure },
]

/** Whether prices that follow the load make a market: 1,000 relays and 100,000 users over 90 days, in memory, by the real rules. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Bench, Figure, Part } from '../figures.ts'
import type { Day } from './observer.ts'
import { type Chart, plot } from './plot.ts'
import { settledDay, type Simulation, simulate } from './simulation.ts'

const setting = { seed: 20_261_122, relays: 1000, users: 100_000, days: 90 }
/** What must come of it. */
const bounds = {
  /** Mean change of a fair relay's prices in a day of the last fortnight, of 1. */
  moved: 0.01,
  /** Of what the deviation of loads was on the first day. */
  unevenness: 0.5,
  /** Used disk of the fullest tenth of fair relays at the end. */
  load: 0.97,
  /** Earned beyond costs, of costs: by the middle of the fair relays and by nine in ten of them. */
  margin: { least: 0, most: 0.8, low: -0.5, high: 1.5 },
  /** Of the users that those who overcharge, or fail, had in the beginning. */
  greedy: 0.2,
  failing: 0.3,
  seated: 0.95,
} as const

async function run({ note, plots }: Bench): Promise<Figure[]> {
  const began = performance.now()
  const days: Day[] = []
  const simulation = simulate(setting, (day) => {
    days.push(day)
    if (days.length % 15 === 0)
      note(`day ${days.length}: the middle price is ${day.price.middle}, ${percent(day.load.middle)} used`)
  })
  const seconds = (performance.now() - began) / 1000
  mkdirSync(plots, { recursive: true })
  for (const [name, chart] of Object.entries(chartsOf(days, simulation)))
    writeFileSync(join(plots, `market-${name}.svg`), plot(chart))
  return [
    figure('simulated market: 1,000 relays, 100,000 users, 90 days', seconds, 's'),
    ...judge(days, simulation),
  ]
}

function judge(days: readonly Day[], simulation: Simulation): Figure[] {
  const [first, last] = [days[0]!, days.at(-1)!]
  const lately = days.slice(-14)
  const moved = lately.reduce((sum, day) => sum + day.moved, 0) / lately.length
  const fair = simulation.observer.margins('fair')
  const { margin } = bounds
  const lost = (manner: 'greedy' | 'failing') => last.share[manner] / Math.max(1e-9, first.share[manner])
  return [
    must('  prices settle: change in a day, last fortnight', moved, moved <= bounds.moved, bounds.moved),
    must(
      '  load spreads: unevenness, of that of day 1',
      last.unevenness / first.unevenness,
      last.unevenness <= bounds.unevenness * first.unevenness,
      bounds.unevenness,
    ),
    must(
      '  nobody is overrun: disk used, 9 of 10 below',
      last.load.high,
      last.load.high <= bounds.load,
      bounds.load,
    ),
    must(
      '  margins: the middle one',
      fair.middle,
      fair.middle >= margin.least && fair.middle <= margin.most,
      margin.most,
    ),
    must('  margins: 9 of 10 above', fair.low, fair.low >= margin.low, margin.low, '≥'),
    must('  margins: 9 of 10 below', fair.high, fair.high <= margin.high, margin.high),
    must(
      '  who overcharges keeps of his users',
      lost('greedy'),
      lost('greedy') <= bounds.greedy,
      bounds.greedy,
    ),
    must(
      '  who fails keeps of his users',
      lost('failing'),
      lost('failing') <= bounds.failing,
      bounds.failing,
    ),
    must(
      '  users that found a relay',
      last.seated / setting.users,
      last.seated >= bounds.seated * setting.users,
      bounds.seated,
      '≥',
    ),
  ]
}

function must(what: string, share: number, met: boolean, bound: number, sign = '≤'): Figure {
  const target = { text: `${sign} ${percent(bound)}`, met, isBinding: true }
  return { ...figure(what, share * 100, '%'), target }
}

const figure = (what: string, amount: number, unit: string): Figure => ({ what, value: { amount, unit } })
const percent = (share: number): string => `${Number((share * 100).toFixed(1))} %`

const [blue, red, orange, grey] = ['#1f5fa8', '#b8322a', '#c77a12', '#777'] as const

function chartsOf(days: readonly Day[], { observer }: Simulation): Readonly<Record<string, Chart>> {
  const of = (value: (day: Day) => number): number[] => days.map(value)
  const middle = percent(observer.margins('fair').middle)
  return {
    prices: {
      title: 'Price of storage: it follows the load, and settles',
      ...{ x: 'day', y: 'satoshi per GB and day' },
      lines: [
        { name: '9 in 10 below', colour: blue, values: of(({ price }) => price.high), isDashed: true },
        { name: 'middle relay', colour: blue, values: of(({ price }) => price.middle) },
        { name: '9 in 10 above', colour: blue, values: of(({ price }) => price.low), isDashed: true },
        { name: 'who overcharges', colour: red, values: of(({ greedyPrice }) => greedyPrice) },
      ],
      bands: [['9 in 10 above', '9 in 10 below']],
    },
    load: {
      title: 'Used disk: users go where there is room',
      ...{ x: 'day', y: 'percent of the capacity' },
      lines: [
        { name: '9 in 10 below', colour: blue, values: of(({ load }) => load.high * 100), isDashed: true },
        { name: 'middle relay', colour: blue, values: of(({ load }) => load.middle * 100) },
        { name: '9 in 10 above', colour: blue, values: of(({ load }) => load.low * 100), isDashed: true },
      ],
      bands: [['9 in 10 above', '9 in 10 below']],
    },
    users: {
      title: 'Share of the users: who overcharges or fails loses his',
      ...{ x: 'day', y: 'percent of all users' },
      lines: [
        { name: 'who overcharges', colour: red, values: of(({ share }) => share.greedy * 100) },
        { name: 'who fails', colour: orange, values: of(({ share }) => share.failing * 100) },
      ],
    },
    changes: {
      title: `Mean change of prices in a day; the middle margin from day ${settledDay} on is ${middle}`,
      ...{ x: 'day', y: 'percent' },
      lines: [{ name: 'fair relays', colour: grey, values: of(({ moved }) => moved * 100) }],
    },
  }
}

export const marketParts: readonly Part[] = [
  {
    name: 'market',
    about: 'prices that follow the load, simulated: 1,000 relays, 100,000 users, 90 days',
    run,
  },
]

/** `relayd price`: what is asked for, why, and who decides on it. */
import type { PriceDecision } from '../../market/pricing-rule.ts'
import type { Prices } from '../../market/units.ts'
import type { Explained } from '../market/price-rule.ts'
import { parsePrices, priceNames } from '../pricing.ts'
import { command, timeText } from './command.ts'
import { UsageError } from './usage.ts'

const usage = 'price [show | set NAME=SATOSHI… | explain | auto on|off]'

export const price = command({
  usage,
  summary:
    'what records cost: storageGBDay, egressGB, ingressGB; what is stored keeps its own. What is set stays until auto on',
  words: [0, 1 + priceNames.length],
  async run({ words: [verb = 'show', ...words], print, relay }) {
    const refuse = (): never => {
      throw new UsageError(`usage: relayd ${usage}`)
    }
    const [word = '', ...more] = words
    switch (verb) {
      case 'show':
        if (words.length > 0) refuse()
        print(await (await relay()).send('prices', {}), pricesText)
        return undefined
      case 'set': {
        if (words.length === 0) refuse()
        const change = parsePrices(words)
        print(await (await relay()).send('set-prices', change), pricesText)
        return undefined
      }
      case 'explain':
        if (words.length > 0) refuse()
        print(await (await relay()).send('explain-prices', {}), explainText)
        return undefined
      case 'auto':
        if ((word !== 'on' && word !== 'off') || more.length > 0) refuse()
        print(await (await relay()).send('auto-price', { isOn: word === 'on' }), explainText)
        return undefined
      default:
        return refuse()
    }
  },
})

const pricesText = ({ prices, next }: Pick<Explained, 'prices' | 'next'>): string[] => [
  priceLine(prices),
  ...(next === null
    ? []
    : [`from ${timeText(next.from)} UTC on, when quotes given out have ended: ${priceLine(next.prices)}`]),
]

const priceLine = ({ storageGBDay, egressGB, ingressGB }: Prices): string =>
  `${storageGBDay} satoshi per GB and day stored, ${egressGB} per GB served, ${ingressGB} per GB taken in`

/** What was measured, what follows, and when next. */
function explainText(explained: Explained): string[] {
  const { state, load, parameters, decisions, decidedAt, nextAt } = explained
  return [
    ...pricesText(explained),
    states[state],
    ...(load === null
      ? []
      : [
          `measured now: ${gigabytes(load.storedBytes)} promised of ${gigabytes(load.capacityBytes)}, ${gigabytes(load.servedBytes)} served in a day${
            parameters === null ? '' : ` of ${parameters.bandwidth} GB`
          }, ${load.connections} of ${load.connectionLimit} connections`,
        ]),
    ...(decisions === null || decidedAt === null
      ? []
      : [
          `decided at ${timeText(decidedAt)} UTC:`,
          ...decisionText(decisions.storageGBDay, explained),
          ...decisionText(decisions.egressGB, explained),
        ]),
    ...(nextAt === null ? [] : [`decides next at ${timeText(nextAt)} UTC`]),
  ]
}

const states: Readonly<Record<Explained['state'], string>> = {
  on: 'prices follow the load',
  held: 'prices are held, for they were set by hand: relayd price auto on lets them follow the load again',
  off: 'prices stay as they are set: start the relay with --auto-price to let them follow the load',
}

function decisionText(decision: PriceDecision, { parameters }: Explained): string[] {
  const { price, scarce, load, cost, base, scarcity, wanted, before, after } = decision
  const margin = parameters === null ? 'with the margin' : `with ${parameters.margin} % of margin`
  return [
    `  ${price}: it costs ${cost} at the target load, ${margin} ${base}; ${percent(load)} of the ${scarce} used makes that ${percent(scarcity)} of it: ${wanted}`,
    `  ${' '.repeat(price.length)}  ${before} → ${after}: ${reasons[decision.bound]}`,
  ]
}

const reasons: Readonly<Record<PriceDecision['bound'], string>> = {
  opening: 'the first price',
  settled: 'near enough to what follows',
  step: 'on the way, as far as one step goes',
  floor: 'at its floor',
  ceiling: 'at its ceiling',
  free: 'nothing follows from costs of nothing',
}

const percent = (permille: number): string => `${(permille / 10).toFixed(1).replace(/\.0$/, '')} %`
const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(3)} GB`

/** `relayd advert`. */
import { command, table, timeText } from './command.ts'
import type { ResultOf } from './operator.ts'
import { UsageError } from './usage.ts'

const orders = { show: 'advert', publish: 'publish-advert', revoke: 'revoke-advert' } as const

export const advert = command({
  usage: 'advert show | publish | revoke',
  summary: 'what strangers are told of this relay, and where (start --advertise)',
  words: [1, 1],
  async run({ words: [verb = ''], print, running }) {
    if (!Object.hasOwn(orders, verb)) throw new UsageError('usage: relayd advert show | publish | revoke')
    print(await running.send(orders[verb as keyof typeof orders], {}), lines)
    return undefined
  },
})

function lines({
  advert,
  isRevoked,
  hash,
  bits,
  silent,
  nextAt,
  mining,
  channels,
}: ResultOf<'advert'>): string[] {
  const next = nextAt === null ? [] : [`the next one is made from ${timeText(nextAt)} UTC on`]
  const work =
    mining === null ? [] : [`at work: ${mining.tried} hashes, ${Math.round(mining.perSecond)} a second`]
  const rows = channels.map(({ channel, outcome, at, error, retryAt }) => [
    channel,
    outcome,
    at === null ? '-' : timeText(at),
    retryAt === null ? '-' : timeText(retryAt),
    error ?? '',
  ])
  return [
    ...(silent === null ? [] : [`nothing is advertised: ${silent}`]),
    ...(isRevoked ? [`revoked by ${hash}`] : []),
    ...(advert === null ? [] : [...of(advert), `${bits} bits of work, named ${hash}`]),
    ...next,
    ...work,
    ...(rows.length === 0 ? [] : table(['channel', 'outcome', 'tried (UTC)', 'again (UTC)', ''], rows)),
  ]
}

function of(advert: NonNullable<ResultOf<'advert'>['advert']>): string[] {
  const { address, network, seq, timestamp, expires } = advert
  const { storageCostPerGigPerDay, bandwidthCostPerGig, ingressCostPerGig = 0 } = advert
  return [
    `${address}, network ${network ?? 'none'}`,
    `${storageCostPerGigPerDay} satoshi per GB and day stored, ${bandwidthCostPerGig} per GB served, ${ingressCostPerGig} per GB taken in`,
    `made ${timeText(timestamp)}, holds until ${timeText(expires)} UTC, number ${seq}`,
  ]
}

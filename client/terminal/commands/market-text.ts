/** The market in words and tables. What adverts say was written by strangers: tables and lines escape it. */
import type { SealedAdvert } from '../../../market/advert.ts'
import { type Family, families } from '../../../market/neighbours.ts'
import type { ChosenSet } from '../../../market/choose-set.ts'
import type { Why } from '../../../market/score.ts'
import { codeOf, messageOf } from '../../errors.ts'
import type { ChannelRead, Probed, Usage } from '../../market.ts'
import { satoshis, usageError } from '../command.ts'
import { bytesText, oneLine, timeText } from '../show.ts'

export const listColumns = [
  'score',
  'satoshi/month',
  'gb·day',
  'gb out',
  'gb in',
  'network',
  'channels',
  'relay',
  'not taken',
] as const

const short = (relay: string): string => `${relay.slice(0, 12)}…`

/** Refused ones stand in the same list, with the limits they do not keep. */
export const listRow = (why: Why) => ({
  score: why.score ?? '-',
  'satoshi/month': why.monthly.satoshis,
  gb·day: why.prices.storageGBDay,
  'gb out': why.prices.egressGB,
  'gb in': why.prices.ingressGB,
  network: why.network ?? 'no coins',
  channels: why.channels.length,
  relay: `${why.url} ${short(why.relay)}`,
  'not taken': why.refused.map(({ limit }) => limit).join(', '),
})

export const simulateColumns = [
  'satoshi/month',
  'storage',
  'out',
  'in',
  'network',
  'relay',
  'not taken',
] as const

const milli = (value: number): string => (value / 1000).toFixed(3)

export const simulateRow = (why: Why) => ({
  ...listRow(why),
  storage: milli(why.monthly.milli.storage),
  out: milli(why.monthly.milli.egress),
  in: milli(why.monthly.milli.ingress),
})

export const probeColumns = ['ms', 'gb·day', 'gb out', 'gb in', 'relay', 'failed'] as const

export const probeRow = ({ relay, url, ms, prices, error }: Probed) => ({
  ms: ms ?? '-',
  gb·day: prices?.storageGBDay,
  'gb out': prices?.egressGB,
  'gb in': prices?.ingressGB,
  relay: `${url} ${short(relay)}`,
  failed: error && messageOf(error),
})

export const probeLine = ({ error, ...probed }: Probed) => ({
  event: 'probe',
  ...probed,
  ...(error && { code: codeOf(error), error: messageOf(error) }),
})

export const readLine = ({ error, ...read }: ChannelRead) => ({
  event: 'channel',
  ...read,
  ...(error && { code: codeOf(error), error: messageOf(error) }),
})

/** What was noticed of a channel that went well; undefined: nothing worth a word. */
export function readText({ channel, refused, lacking, error }: ChannelRead): string | undefined {
  const bad = Object.entries(refused).map(([code, many]) => `${many} refused (${code})`)
  const lacks =
    lacking !== null && lacking > 0
      ? [`${lacking} known ${lacking === 1 ? 'relay is' : 'relays are'} not on it`]
      : []
  const all = [...bad, ...lacks]
  return error !== undefined || all.length === 0 ? undefined : `note: ${channel}: ${all.join(', ')}`
}

export function usageText({ pattern, by }: Usage): string {
  const { records, bytes, ttl, milliPulls } = pattern
  const days = (ttl / 86_400).toFixed(ttl % 86_400 === 0 ? 0 : 1)
  return `${records} records a month of ${bytesText(bytes)}, kept for ${days} days, each pulled ${milliPulls / 1000} times (${usageFrom[by]})`
}

const usageFrom: Readonly<Record<Usage['by'], string>> = {
  said: 'as you say',
  journal: 'what you did not say is as in your last 30 days',
  usual: 'what you did not say is what is usual: you have written little yet',
}

export function whyLines(why: Why, place: number): string {
  const { relay, url, monthly, prices, score, factors, refused, channels, neighbourhoods } = why
  const head = [
    `${oneLine(url)}  ${relay}`,
    `  ${score === null ? 'not considered' : `score ${score} of 1000, place ${place}`}`,
    `  costs      ${monthly.satoshis} satoshi a month: ${milli(monthly.milli.storage)} kept, ${milli(monthly.milli.egress)} given away, ${milli(monthly.milli.ingress)} taken in`,
    `  prices     ${prices.storageGBDay} for 1 GB and day, ${prices.egressGB} for 1 GB read, ${prices.ingressGB} for 1 GB written, by its ${why.pricesBy}`,
    `  heard on   ${channels.map(oneLine).join(', ') || 'no channel of now'}`,
    `  counts as  ${neighbourhoods.map(oneLine).join(', ')}`,
  ]
  const limits = refused.map(({ limit, says }) => `  LIMIT      ${limit}: ${oneLine(says)}`)
  const parts = Object.entries(factors ?? {}).map(
    ([name, { points, weight, says }]) =>
      `  ${name.padEnd(factorWidth)} ${String(points).padStart(3)} of ${String(weight).padStart(3)}  ${oneLine(says)}`,
  )
  return [...head, ...limits, ...parts].join('\n')
}
const factorWidth = 'diversity'.length + 1

export function showLines({ advert, bits, hash }: SealedAdvert): string {
  const { address, serverPubKey, network, features, limits, timestamp, expires, seq } = advert
  return [
    `${oneLine(address)}`,
    `  key        ${serverPubKey}`,
    `  network    ${network ?? 'none: it takes no coins'}`,
    `  prices     ${advert.storageCostPerGigPerDay} for 1 GB and day, ${advert.bandwidthCostPerGig} for 1 GB read, ${advert.ingressCostPerGig ?? 0} for 1 GB written`,
    `  takes      records of up to ${bytesText(limits.recordBytes)}, for up to ${Math.floor(limits.ttl / 86_400)} days`,
    `  features   ${features.join(' ')}`,
    `  made       ${timeText(timestamp)}, holds until ${timeText(expires)}, seq ${seq}`,
    `  stamp      ${bits} bits; ${hash}`,
  ].join('\n')
}

export function chosenLines({ chosen, satoshis, passedOver, short: why }: ChosenSet): string {
  const taken = chosen.map(
    ({ why: { url, relay }, says }) => `  takes      ${oneLine(url)} ${short(relay)}: ${says}`,
  )
  const passed = passedOver
    .slice(0, shownPassedOver)
    .map(({ why: { url, relay }, says }) => `  not        ${oneLine(url)} ${short(relay)}: ${oneLine(says)}`)
  const lack = why === null ? [] : [`  FEWER      ${why}`]
  return [`${chosen.length} relays for ${satoshis} satoshi a month:`, ...taken, ...passed, ...lack].join('\n')
}
const shownPassedOver = 10

/** Thousandths of a number like `2` or `0.5`. */
export function thousandths(text: string, option: string): number {
  if (!/^[0-9]{1,6}(?:\.[0-9]{1,3})?$/.test(text))
    throw usageError(`--${option} takes a number like 2 or 0.5`)
  return Math.round(Number(text) * 1000)
}

export const familiesOf = (given: readonly string[] | undefined): readonly Family[] | undefined =>
  given?.map((text) => {
    const found = families.find((family) => family === text)
    if (found === undefined) throw usageError(`--family is ${families.join(', ')}`)
    return found
  })

/** Of options that were given. */
export const priceOf = (text: string | undefined, option: string): number | undefined =>
  text === undefined ? undefined : satoshis(text, option)

/** Of a stamp. */
export function bitsOf(text: string): number {
  if (/^(?:0|[1-9][0-9]?)$/.test(text)) return Number(text)
  throw usageError('--bits takes a whole number below 100')
}

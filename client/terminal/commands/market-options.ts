/** What the verbs of `relay market` are told, and what they all tell. */
import { AdvertNetwork } from '../../../market/advert.ts'
import { monthDays } from '../../../market/usage-pattern.ts'
import type { Client } from '../../client.ts'
import type { ChannelRead, MarketCall, Usage } from '../../market.ts'
import { durationSeconds, sizeBytes, usageError } from '../command.ts'
import type { Session } from '../session.ts'
import * as show from './market-text.ts'
import { coinOptions } from './money.ts'

const one = { type: 'string' } as const
const many = { type: 'string', multiple: true } as const
const flag = { type: 'boolean' } as const
export const options = {
  ...coinOptions,
  ...{ channel: many, offline: flag, bits: one },
  ...{ records: one, bytes: one, ttl: one, pulls: one },
  ...{ feature: many, family: many, 'most-storage': one, 'most-egress': one, 'most-ingress': one },
  ...{ relays: one, budget: one, open: flag, contract: one, term: one, 'max-spend': one },
  ...{ 'dry-run': flag, yes: flag },
} as const

export type Values = { readonly [name in keyof typeof options]?: Given<(typeof options)[name]> | undefined }
type Given<O> = O extends { multiple: true } ? string[] : O extends { type: 'boolean' } ? boolean : string

export interface Asked {
  readonly session: Session
  readonly client: Client
  readonly values: Values
  readonly words: readonly string[]
  readonly call: MarketCall
}

/** @throws ERR_USAGE */
export function callOf(session: Session, values: Values): MarketCall {
  const { records, bytes, ttl, pulls, bits, feature, family, network } = values
  const parsed = network === undefined ? undefined : AdvertNetwork.safeParse(network)
  if (parsed?.success === false) throw usageError(`--network is ${AdvertNetwork.options.join(', ')}`)
  const most = {
    storageGBDay: show.priceOf(values['most-storage'], 'most-storage'),
    egressGB: show.priceOf(values['most-egress'], 'most-egress'),
    ingressGB: show.priceOf(values['most-ingress'], 'most-ingress'),
  }
  return {
    signal: session.signal,
    channels: values.channel,
    isOffline: values.offline,
    bits: bits === undefined ? undefined : show.bitsOf(bits),
    pattern: {
      records:
        records === undefined
          ? undefined
          : Math.ceil((show.thousandths(records, 'records') * monthDays) / 1000),
      bytes: bytes === undefined ? undefined : sizeBytes(bytes, 'bytes'),
      ttl: ttl === undefined ? undefined : durationSeconds(ttl, 'ttl'),
      milliPulls: pulls === undefined ? undefined : show.thousandths(pulls, 'pulls'),
    },
    limits: { network: parsed?.data, features: feature, families: show.familiesOf(family), most },
  }
}

export function nameIn({ words: [name] }: Asked): string {
  if (name === undefined) throw usageError('that takes a RELAY: its key, the beginning of it, or its URL')
  return name
}

/** Which channel failed, or lied as far as that shows; all of them failing, and nothing known, is a failure. */
export function tellReads(session: Session, reads: readonly ChannelRead[], known: number): void {
  const failed = reads.flatMap(({ channel, error }) =>
    error === undefined ? [] : [{ relay: channel, error }],
  )
  if (failed.length > 0 && failed.length === reads.length && known === 0) throw failed[0]!.error
  session.warn(failed)
  if (session.isJson) for (const read of reads) session.print(show.readLine(read), '')
  else for (const said of reads.flatMap((read) => show.readText(read) ?? [])) session.say(said)
}

export function tellUsage(session: Session, usage: Usage): void {
  if (!session.isJson) session.say(`for ${show.usageText(usage)}`)
}

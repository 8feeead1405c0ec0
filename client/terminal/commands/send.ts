import { isFree } from '../../../market/price.ts'
import type { Client } from '../../client.ts'
import type { Delivery } from '../../delivery.ts'
import { codeOf, isAboutMoney, isUnpaid } from '../../errors.ts'
import { type Cost, costQuoted, type Quoted, quotesText } from '../../money/quotes.ts'
import {
  command,
  exitCodes,
  keepingOf,
  keepingOptions,
  positiveInteger,
  satoshis,
  usageError,
} from '../command.ts'
import { readInput } from '../input.ts'
import type { Session } from '../session.ts'
import { oneLine } from '../show.ts'

export const inputBytes = 512 * 1024

export const sendCommand = command({
  name: 'send',
  usage:
    'FRIEND --text TEXT | --file FILE | -  [--relays K] [--quorum Q] [--ttl 7d] [--tag T] [--max-pulls N] [--max-cost SATOSHI] [--max-spend SATOSHI]',
  summary: 'send a message or a file',
  help: [
    '--text TEXT         a message; `-` instead reads it from stdin',
    '--file FILE         a file of any size; the same command again goes on after an interruption',
    '--ttl 7d            how long relays keep it: 90s, 30m, 12h, 7d',
    '--tag T             a tag, which relays can read',
    '--max-pulls N       how often each relay gives it away; 4 unless said',
    '--relays K          how many of your relays get it; as many as `relay relays --keep` says unless said',
    '--quorum Q          how many of them must have signed for it before it is delivered',
    '--max-cost SATOSHI  the most that all relays together may reserve for it, also when it goes up later: what a',
    '                    relay quotes now is its part, and relays that do not answer share what is left',
    '--max-spend SATOSHI the most that is ever signed over in a contract so that it goes up, now or later; what the',
    '                    contract allows holds besides (relay contract pay CONTRACT --max-spend)',
  ],
  options: {
    text: { type: 'string' },
    file: { type: 'string' },
    tag: { type: 'string' },
    ...keepingOptions,
    'max-cost': { type: 'string' },
    relays: { type: 'string' },
    quorum: { type: 'string' },
  },
  positionals: [1, 2],
  async run(session, values, [reference = '', dash]) {
    const { text, file, tag, relays, quorum } = values
    const sources = [text, file, dash].filter((source) => source !== undefined)
    if (sources.length !== 1 || (dash !== undefined && dash !== '-'))
      throw usageError('send takes exactly one of --text TEXT, --file FILE and -')
    const { terms, finish } = sendingOf(session, values)
    const options = {
      ...terms,
      tag,
      keep: relays === undefined ? undefined : positiveInteger(relays, 'relays'),
      quorum: quorum === undefined ? undefined : positiveInteger(quorum, 'quorum'),
    }
    const client = await session.client()
    const friend = await client.friend(reference)
    if (file !== undefined) {
      const sending = client.sendFile(friend, file, { ...options, onProgress: session.onProgress })
      return finish(await sending.catch(stopped(session)), friend.alias)
    }
    const message = text ?? (await readInput(session.io.stdin, inputBytes))
    if (message === '') throw usageError('there is nothing to send')
    return finish(await client.send(friend, message, options), friend.alias)
  },
})

type TermValues = Parameters<typeof keepingOf>[0] & { readonly 'max-cost'?: string | undefined }

/** The terms that all that goes up has in common, and what was quoted for it, if anything was yet. */
export function termsOf(session: Session, values: TermValues) {
  const { 'max-cost': cost } = values
  let quoted: Quoted | undefined
  const terms = {
    signal: session.signal,
    maxSpend: session.maxSpend,
    maxCost: cost === undefined ? undefined : satoshis(cost, 'max-cost'),
    onQuote: (quotes: Quoted) => {
      quoted = quotes
      showQuote(session, quotes)
    },
    ...keepingOf(values),
  }
  return { terms, quoted: () => quoted }
}

/** The terms of one sending, and its end, which tells also what was quoted. */
export function sendingOf(session: Session, values: TermValues) {
  const { terms, quoted } = termsOf(session, values)
  const end = (sent: Delivery, friend: string) => finish(session, sent, { quoted: quoted(), friend })
  return { terms, finish: end }
}

/** Before anything is sent: what it may cost where it is not free, and which relay's word cannot be taken. */
export function showQuote(session: Session, quoted: Quoted): void {
  for (const quote of quoted.relays) {
    // What else may fail is said by the upload.
    if ('error' in quote && codeOf(quote.error) === 'ERR_UNTRUSTED')
      session.warn([{ relay: quote.relay.url, error: quote.error }])
  }
  if (quoted.relays.some((quote) => 'prices' in quote && !isFree(quote.prices)))
    session.say(`costs at most ${quoted.satoshis} satoshi (${quotesText(quoted)})`)
}

export function stopped(session: Session): (error: unknown) => never {
  return (error) => {
    if (isUnpaid(error) || session.signal.aborted)
      session.say('what was sent of it stays; the same command goes on where it stopped')
    throw error
  }
}

/** Whatever else waits goes up with it, now that relays are known to answer or not. */
async function finish(
  session: Session,
  sent: Delivery,
  { quoted, friend }: { quoted: Quoted | undefined; friend: string },
): Promise<number> {
  const { recordId, path, state, accepted, failures, reserved } = sent
  session.endBar()
  session.warn(failures)
  if (state === 'queued')
    session.say('queued: not enough relays took it; it goes up by itself with a later command')
  const client = await session.client()
  if (reserved.total !== '0') session.say(`reserved ${await costText(client, reserved)}`)
  session.print(
    {
      ...{ id: recordId, state, path, to: friend, relays: accepted },
      ...(quoted !== undefined && { quoted: costQuoted(quoted) }),
      reserved,
    },
    `${state} ${recordId} to ${oneLine(friend)}`,
  )
  // What this is refused for, what waited before it would be refused for too.
  const retryUnpaid = !failures.some(({ error }) => isUnpaid(error))
  if (accepted.length > 0) await client.flush({ signal: session.signal, retryUnpaid })
  const isUnwanted = failures.length > 0 && failures.every(({ error }) => isAboutMoney(error))
  return accepted.length === 0 && isUnwanted ? exitCodes.payment : exitCodes.ok
}

async function costText(client: Client, { total, relays }: Cost): Promise<string> {
  const urls = new Map((await client.relays()).map(({ key, url }) => [key, url]))
  const parts = Object.entries(relays).map(([key, satoshi]) => `${urls.get(key) ?? key} ${satoshi}`)
  return `${total} satoshi (${parts.join(', ')})`
}

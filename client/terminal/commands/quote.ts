import { formatAddress } from '../../../market/address.ts'
import type { Quotable } from '../../delivery.ts'
import { codeOf, messageOf } from '../../errors.ts'
import type { Quoted, RelayQuote } from '../../money/quotes.ts'
import { command, exitCodes, keepingOf, keepingOptions, sizeBytes, usageError } from '../command.ts'
import type { Session } from '../session.ts'
import { timeText } from '../show.ts'

export const quoteCommand = command({
  name: 'quote',
  usage: '[RELAY] --bytes SIZE | --text TEXT | --file FILE  [--ttl 7d] [--max-pulls N]',
  summary: 'ask your relays, or one, what something would cost at most',
  help: [
    '--bytes SIZE    a record with so many bytes of encrypted content, e.g. 300kB',
    '--text TEXT     a message',
    '--file FILE     a file, with all its chunks',
    '--ttl 7d        how long relays keep it: 90s, 30m, 12h, 7d',
    '--max-pulls N   how often each relay gives it away; 4 unless said',
    'Prices are satoshi per GB and day stored, per GB given away, per GB taken in; a quote binds its relay while it holds.',
  ],
  options: {
    bytes: { type: 'string' },
    text: { type: 'string' },
    file: { type: 'string' },
    ...keepingOptions,
  },
  positionals: [0, 1],
  async run(session, values, [relay]) {
    const options = { signal: session.signal, relay, ...keepingOf(values) }
    const wanted = wantedOf(values)
    const quoted = await (await session.client()).quote(wanted, options)
    if (quoted.relays.length === 0) session.say('no relays yet: add one with relays add')
    const failed = failuresOf(quoted)
    const isNone = failed.length > 0 && failed.length === quoted.relays.length
    if (isNone) session.hold(failed[0])
    session.warn(failed)
    if (quoted.relays.length > 0) show(session, quoted, !isNone)
    if (isNone) throw failed[0]!.error
    return exitCodes.ok
  },
})

type Choice = { bytes?: string | undefined; text?: string | undefined; file?: string | undefined }

function wantedOf({ bytes, text, file }: Choice): Quotable {
  const wanted: Quotable[] = [
    ...(bytes === undefined ? [] : [{ bytes: sizeBytes(bytes, 'bytes') }]),
    ...(text === undefined ? [] : [{ message: text }]),
    ...(file === undefined ? [] : [{ file }]),
  ]
  const [first] = wanted
  if (first === undefined || wanted.length > 1)
    throw usageError('quote takes exactly one of --bytes SIZE, --text TEXT and --file FILE')
  return first
}

const failuresOf = ({ relays }: Quoted) =>
  relays.flatMap((quote) => ('error' in quote ? [{ relay: quote.relay.url, error: quote.error }] : []))

function show(session: Session, quoted: Quoted, isAny: boolean): void {
  const { satoshis, records, relays } = quoted
  session.list(
    session.isJson ? relays.map(line) : relays.flatMap(cells),
    ['relay', 'satoshi', 'gb·day', 'gb out', 'gb in', 'holds until'],
    'no quote',
  )
  if (!isAny) return
  const many = records > 1 ? `, for ${records} records` : ''
  session.print({ event: 'total', satoshis, records }, `at most ${satoshis} satoshi in total${many}`)
}

function line(quote: RelayQuote) {
  const about = { event: 'quote', relay: formatAddress(quote.relay) }
  if ('error' in quote) return { ...about, code: codeOf(quote.error), error: messageOf(quote.error) }
  const { satoshis, prices, expires } = quote
  return { ...about, satoshis, prices, expires }
}

function cells(quote: RelayQuote) {
  if ('error' in quote) return []
  const { storageGBDay, egressGB, ingressGB } = quote.prices
  const relay = formatAddress(quote.relay)
  const prices = { gb·day: storageGBDay, 'gb out': egressGB, 'gb in': ingressGB }
  return [{ relay, satoshi: quote.satoshis, ...prices, 'holds until': timeText(quote.expires) }]
}

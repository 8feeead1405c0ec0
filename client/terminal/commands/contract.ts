import type { Client } from '../../client.ts'
import type { Plan, View } from '../../contracts.ts'
import { command, durationSeconds, exitCodes, satoshis, usageError } from '../command.ts'
import type { Session } from '../session.ts'
import { leavingText, listColumns, planLines, rowOf, viewLines } from './contract-text.ts'
import { coinOptions, coinsOf, isAgreed, isTerminal } from './money.ts'

const options = {
  ...coinOptions,
  budget: { type: 'string' },
  term: { type: 'string' },
  'max-spend': { type: 'string' },
  keep: { type: 'string' },
  profile: { type: 'string' },
  'no-expiry': { type: 'boolean' },
  'dry-run': { type: 'boolean' },
  yes: { type: 'boolean' },
} as const

interface Values
  extends Partial<Record<'chain' | 'headers' | 'network' | 'budget' | 'term' | 'keep' | 'profile', string>> {
  readonly 'max-spend'?: string | undefined
  readonly 'no-expiry'?: boolean | undefined
  readonly 'dry-run'?: boolean | undefined
  readonly yes?: boolean | undefined
}

interface Given {
  readonly session: Session
  readonly client: Client
  readonly values: Values
  /** Of CONTRACT or RELAY. */
  readonly subject: string
  readonly call: ReturnType<typeof coinsOf> & { readonly signal: AbortSignal }
}

const verbs: Record<string, (given: Given) => Promise<number>> = {
  open: openVerb,
  async show({ session, client, subject }) {
    return shown(session, await client.contracts.get(subject))
  },
  async pay({ session, client, subject, values, call }) {
    const most = numberOf(values, 'max-spend')
    return shown(session, await client.contracts.pay(subject, { ...call, maxSpend: most }))
  },
  close: closeVerb,
  async refund({ session, client, subject, call }) {
    sayIfOver(session, await client.contracts.get(subject))
    return shown(session, await client.contracts.refund(subject, call))
  },
  renew: (given) => renewVerb(given, {}),
  async topup(given) {
    const topUp = numberOf(given.values, 'budget')
    if (topUp === undefined) throw usageError('contract topup takes --budget SATOSHI to add')
    return renewVerb(given, { topUp })
  },
}

export const contractCommand = command({
  name: 'contract',
  usage:
    'open RELAY --budget SATOSHI | list | show | pay | close | renew | topup | refund CONTRACT | recover',
  summary: 'pay a relay as you use it, out of money that neither of you can take alone',
  help: [
    'CONTRACT is an id, its beginning, or the relay it is with. open, renew and topup show every number, and ask, on a terminal',
    'open      --budget SATOSHI to be used, --term 30d how long, --dry-run shows the numbers and pays nothing,',
    '          --max-spend SATOSHI the most that is ever signed over in it, kept with it; contract pay --max-spend changes it,',
    '          --profile 0: WITHOUT expiry, what is in it never comes back by itself; that is asked about separately, and',
    '          where nobody can be asked it takes --no-expiry beside it',
    'show      who gets what, at which time; pay: what an audit of now comes to (relay agent does it by itself)',
    'close     ends it by agreement, or calls off one that is not open yet; --keep SATOSHI pays that much beyond the audit, so that records stay to their end',
    'renew     a next contract in its place, --term as long; topup: with --budget SATOSHI more in it',
    'refund    everything back by time, when the relay is gone; recover: contracts that only your wallet remembers',
    '--yes     does not ask; --chain CHAIN and the like: where your coins are, as for wallet',
  ],
  options,
  positionals: [1, 2],
  async run(session, values, [verb = '', subject]) {
    const client = await session.client()
    const call = { ...coinsOf(session, values), signal: session.signal }
    if (verb === 'list' || verb === 'recover') {
      const all = verb === 'list' ? await client.contracts.list() : await client.contracts.recover(call)
      const rows = all.map((view) => (session.isJson ? { event: 'contract', ...view } : rowOf(view)))
      session.list(
        rows,
        [...listColumns],
        verb === 'list' ? 'no contracts yet: contract open RELAY' : 'nothing to recover',
      )
      return exitCodes.ok
    }
    const act = Object.hasOwn(verbs, verb) ? verbs[verb] : undefined
    if (act === undefined)
      throw usageError(
        `contract ${verb}: there is open, list, ${Object.keys(verbs).slice(1).join(', ')}, recover`,
      )
    if (subject === undefined)
      throw usageError(`contract ${verb} takes a ${verb === 'open' ? 'RELAY' : 'CONTRACT'}`)
    return act({ session, client, values, subject, call })
  },
})

function numberOf(values: Values, name: 'budget' | 'max-spend' | 'keep'): number | undefined {
  const text = values[name]
  return text === undefined ? undefined : satoshis(text, name)
}

const termOf = ({ term }: Values): number | undefined =>
  term === undefined ? undefined : durationSeconds(term, 'term')

async function openVerb({ session, client, values, subject, call }: Given): Promise<number> {
  const budget = numberOf(values, 'budget')
  if (budget === undefined) throw usageError('contract open takes --budget SATOSHI')
  const isBare = isBareOf(values)
  const order = {
    ...call,
    budget,
    termSeconds: termOf(values),
    maxSpend: numberOf(values, 'max-spend'),
    isBare,
  }
  const asked = asking(session, values, subject)
  const view = await client.contracts.open(subject, { ...order, agree: asked.agree })
  return concluded(session, view, asked.wasDry)
}

/** @throws ERR_USAGE */
function isBareOf({ profile = '1', 'no-expiry': isAccepted = false }: Values): boolean {
  if (profile !== '0' && profile !== '1') throw usageError('--profile is 1, with expiry, or 0, without')
  if (isAccepted && profile === '1') throw usageError('--no-expiry goes with --profile 0')
  return profile === '0'
}

async function closeVerb({ session, client, values, subject, call }: Given): Promise<number> {
  const view = await client.contracts.get(subject)
  const { contract, state, audited, endings, inside } = view
  const keep = numberOf(values, 'keep')
  sayIfOver(session, view)
  const isOpen = state === 'active' || state === 'disputed'
  const leaving = isOpen && keep === undefined ? await client.contracts.leaving(contract, call) : undefined
  const remark = leaving && leavingText(leaving)
  const back = endings.find(({ how }) => how === 'agreed')?.client
  const id = contract.slice(0, 16)
  const goes = `About ${audited ?? 0} satoshi go to the relay, ${back ?? 'all'} come back`
  const question = isOpen
    ? `end the contract ${id}? ${goes}.${remark === undefined ? '' : ` ${remark}.`}`
    : `call the contract ${id} off? Your stake of ${inside} satoshi comes back, less a fee.`
  const isAsked = isOpen || state === 'staking' || state === 'opening'
  if (isAsked && !values.yes) {
    if (!(await isAgreed(session, question))) return refusedBy(session)
  }
  if (remark !== undefined && (values.yes || !isTerminal(session))) session.say(`note: ${remark}`)
  return shown(session, await client.contracts.close(contract, { ...call, keep }))
}

function sayIfOver(session: Session, { state }: View): void {
  if (state === 'closed' || state === 'refunded' || state === 'cancelled')
    session.say(`it is ${state} already: nothing is left to be ended or had back`)
}

async function renewVerb(
  { session, client, values, subject, call }: Given,
  order: { readonly topUp?: number },
): Promise<number> {
  const { contract, relay } = await client.contracts.get(subject)
  const asked = asking(session, values, relay?.split('#')[0] ?? subject)
  const options = { ...call, ...order, termSeconds: termOf(values), agree: asked.agree }
  return concluded(session, await client.contracts.renew(contract, options), asked.wasDry)
}

/** Shows every number, then asks; what never comes back by itself is asked about separately. */
function asking(session: Session, values: Values, subject: string) {
  const isDry = values['dry-run'] === true
  const agree = async (plan: Plan): Promise<boolean> => {
    if (isDry) session.print({ event: 'plan', ...plan }, planLines(plan, subject))
    else if (!session.isJson) session.print({}, planLines(plan, subject))
    if (isDry || !(plan.expiry !== null || (await isBareAgreed(session, values, plan)))) return false
    return values.yes === true || isAgreed(session, 'open it?')
  }
  return { agree, wasDry: isDry }
}

/** Even with --yes; only where there is nobody to be asked, what was typed counts. */
function isBareAgreed(session: Session, values: Values, { stake }: Plan): Promise<boolean> {
  const question = `it has NO expiry: if the relay ever vanishes or refuses, all ${stake} satoshi are lost for ever. Go on?`
  if (isTerminal(session)) return isAgreed(session, question)
  if (values['no-expiry']) return Promise.resolve(true)
  throw usageError(
    '--profile 0 never comes back by itself: where nobody can be asked, it takes --no-expiry beside it',
  )
}

function concluded(session: Session, view: View | undefined, wasDry: boolean): number {
  if (view !== undefined) return shown(session, view)
  if (wasDry) return exitCodes.ok
  return refusedBy(session)
}

function refusedBy(session: Session): number {
  session.say('nothing was done')
  return exitCodes.failed
}

function shown(session: Session, view: View): number {
  session.print({ event: 'contract', ...view }, viewLines(view))
  return exitCodes.ok
}

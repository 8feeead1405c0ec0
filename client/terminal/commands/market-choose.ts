/** `relay market choose`: a set of relays, and with `--open` contracts with them. */
import { messageOf } from '../../errors.ts'
import type { Choice, OpenedAt } from '../../market.ts'
import { durationSeconds, exitCodes, positiveInteger, usageError } from '../command.ts'
import type { Session } from '../session.ts'
import { planLines } from './contract-text.ts'
import { type Asked, tellReads, tellUsage } from './market-options.ts'
import * as show from './market-text.ts'
import { coinsOf, isAgreed } from './money.ts'

export async function chooseVerb({ session, client, values, call }: Asked): Promise<number> {
  const { relays, budget } = values
  if (relays === undefined) throw usageError('market choose takes --relays N')
  const count = positiveInteger(relays, 'relays')
  const choice = await client.market.choose({ ...call, count, budget: show.priceOf(budget, 'budget') })
  tellReads(session, choice.reads, choice.all.length)
  tellUsage(session, choice.usage)
  const { chosen, satoshis, passedOver, short } = choice.set
  const told = { satoshis, short, chosen: chosen.map(({ why, says }) => ({ ...why, says })) }
  const passed = passedOver.map(({ why: { relay, url }, says }) => ({ relay, url, says }))
  session.print({ event: 'choice', ...told, passedOver: passed }, show.chosenLines(choice.set))
  if (chosen.length === 0) return exitCodes.notFound
  return values.open || values['dry-run'] ? openAll({ session, client, values, choice }) : exitCodes.ok
}

async function openAll({
  session,
  client,
  values,
  choice,
}: Pick<Asked, 'session' | 'client' | 'values'> & { readonly choice: Choice }): Promise<number> {
  const isDry = values['dry-run'] === true
  const { chain, headers } = coinsOf(session, values)
  const free = choice.set.chosen.filter(({ why }) => why.network === null)
  if (isDry && free.length > 0)
    session.say(`${free.length} of them charge nothing: no contract is needed there`)
  const paid = isDry ? choice.set.chosen.filter(({ why }) => why.network !== null) : choice.set.chosen
  const opened = await client.market.open(
    { set: { ...choice.set, chosen: paid } },
    {
      ...{ chain, headers, signal: session.signal },
      budget: show.priceOf(values.contract, 'contract'),
      termSeconds: values.term === undefined ? undefined : durationSeconds(values.term, 'term'),
      maxSpend: show.priceOf(values['max-spend'], 'max-spend'),
      async agree(plan, { url }) {
        if (isDry || !session.isJson) session.print({ event: 'plan', url, ...plan }, planLines(plan, url))
        return !isDry && (values.yes === true || isAgreed(session, 'open it?'))
      },
    },
  )
  const told = isDry ? opened.filter(({ error }) => error !== undefined) : opened
  return openedWell(session, told)
}

function openedWell(session: Session, opened: readonly OpenedAt[]): number {
  for (const { why, view, isRefused = false, error } of opened) {
    const said = isRefused
      ? 'not taken'
      : view === undefined
        ? 'taken, free of charge'
        : `taken, contract ${view.state}`
    const line = { event: 'taken', relay: why.relay, url: why.url, isRefused, contract: view ?? null }
    const failure = error && { error: messageOf(error) }
    session.print({ ...line, ...failure }, `${why.url}: ${said}${error ? `: ${messageOf(error)}` : ''}`)
  }
  const failed = opened.find(({ error }) => error !== undefined)
  if (failed !== undefined && opened.every(({ error }) => error !== undefined)) throw failed.error
  return opened.some(({ isRefused }) => isRefused) ? exitCodes.failed : exitCodes.ok
}

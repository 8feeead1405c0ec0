import type { Pass } from '../../contracts.ts'
import { codeOf, messageOf } from '../../errors.ts'
import { command, durationSeconds, exitCodes } from '../command.ts'
import type { Session } from '../session.ts'
import { explain } from '../explain.ts'
import { oneLine } from '../show.ts'
import { coinOptions, coinsOf } from './money.ts'

/** Between two passes, seconds. */
const standardEvery = 300

export const agentCommand = command({
  name: 'agent',
  usage: '[--every DURATION] [--once] [--no-renew]',
  summary: 'keep contracts paid by what was audited, renewed, and yours; until interrupted',
  help: [
    '--every DURATION  between two passes; 5m unless said',
    '--once            one pass, and done',
    '--no-renew        lets contracts end, instead of making the next one before they do',
    '--chain CHAIN     and the like: where your coins are, as for wallet',
    'It settles only what audits support, signs little ahead of that, and never more than --max-spend of a contract.',
  ],
  options: {
    ...coinOptions,
    every: { type: 'string' },
    once: { type: 'boolean' },
    'no-renew': { type: 'boolean' },
  },
  positionals: [0, 0],
  async run(session, values) {
    const { every, once = false, 'no-renew': isEnding = false } = values
    const seconds = every === undefined ? standardEvery : durationSeconds(every, 'every')
    const client = await session.client()
    const call = { ...coinsOf(session, values), signal: session.signal, isEnding }
    const shown = new Map<string, string>()
    for (;;) {
      const failed = await onePass(session, { shown, tend: () => client.contracts.tend(call) })
      if (once) return failed ? exitCodes.failed : exitCodes.ok
      if (await session.isStoppedWithin(seconds * 1000)) return exitCodes.ok
      session.forget()
    }
  },
})

/** What has not changed since it was shown is not shown again. @returns whether anything failed; the next pass tries again */
async function onePass(
  session: Session,
  { tend, shown }: { tend: () => Promise<Pass[]>; shown: Map<string, string> },
): Promise<boolean> {
  try {
    const passes = await tend()
    for (const { before, error, ...view } of passes) {
      const { contract, state, paid, settled } = view
      const failed = error && { code: codeOf(error), error: messageOf(error) }
      const what = before === state ? state : `${before} → ${state}`
      const amounts = paid === null ? '' : `, ${paid} signed, ${settled} settled`
      const news = `${what}${amounts}${failed?.error ?? ''}`
      if (shown.get(contract) === news) continue
      shown.set(contract, news)
      session.print(
        { event: 'contract', before, ...view, ...failed },
        `${contract.slice(0, 16)} ${what}${amounts}`,
      )
      if (error !== undefined) session.say(`warning: ${oneLine(explain(error))}`)
    }
    return passes.some(({ error }) => error !== undefined)
  } catch (error) {
    if (session.signal.aborted) return false
    session.say(`warning: ${oneLine(explain(error))}`)
    return true
  }
}

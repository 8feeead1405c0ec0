import { isUnderWay, type Migration } from '../../home/migration.ts'
import { migrationLimits } from '../../relays/migrate.ts'
import { command, durationSeconds, exitCodes, satoshis, usageError } from '../command.ts'
import type { Session } from '../session.ts'
import { oneLine, timeText } from '../show.ts'
import { costText } from './check.ts'
import { coinOptions, coinsOf } from './money.ts'

/** Between two looks whether friends came, seconds. */
const standardEvery = 60

export const migrateCommand = command({
  name: 'migrate',
  usage:
    '[--from RELAY --to ADDRESS] [--until DURATION] [--max-cost SATOSHI] [--once] [--every DURATION] | --stop',
  summary: 'move from one relay to another, friends and all',
  help: [
    '--from, --to        the relay you leave and the one you go to; without them, the migration under way goes on',
    `--until DURATION    how long friends are waited for, from its beginning on; ${migrationLimits.waitSeconds / 86_400}d unless said`,
    '--max-cost SATOSHI  the most that the new relay may reserve for the copies; what they cost is said before',
    '--once              does what can be done now, and does not wait for friends',
    '--stop              gives it up where it is: both relays stay yours',
    '--every DURATION    between two looks whether they came; 1m unless said',
    '--chain CHAIN       and the like: where your coins are, as for wallet',
    'Records are copied and friends told by both relays. When all were seen on the new one, or the time is up, the old one is',
    'left: contracts with it are closed and credit is paid back. Interrupted at any point, the same command goes on.',
  ],
  options: {
    ...coinOptions,
    from: { type: 'string' },
    to: { type: 'string' },
    until: { type: 'string' },
    'max-cost': { type: 'string' },
    once: { type: 'boolean' },
    stop: { type: 'boolean' },
    every: { type: 'string' },
  },
  positionals: [0, 0],
  async run(session, values) {
    const { from, to, until, 'max-cost': cost, once, every } = values
    if ((from === undefined) !== (to === undefined))
      throw usageError('migrate takes --from RELAY and --to ADDRESS')
    const seconds = every === undefined ? standardEvery : durationSeconds(every, 'every')
    const { redundancy } = await session.client()
    if (values.stop) {
      const { step, from, to } = await redundancy.stop()
      session.print({ step, from, to }, `stopped: both ${from} and ${to} are yours`)
      return exitCodes.ok
    }
    const call = {
      ...coinsOf(session, values),
      signal: session.signal,
      waitSeconds: until === undefined ? undefined : durationSeconds(until, 'until'),
      maxCost: cost === undefined ? undefined : satoshis(cost, 'max-cost'),
      onCost: (what: Parameters<typeof costText>[0]) => session.say(costText(what)),
      onProgress: session.onProgress,
    }
    let state = await (from === undefined || to === undefined
      ? redundancy.goOn(call)
      : redundancy.migrate(from, to, call)
    ).catch(interrupted(session))
    await show(session, state)
    if (isUnderWay(state) && once) session.say('relay migrate looks again whether they came')
    while (isUnderWay(state) && once !== true) {
      if (await session.isStoppedWithin(seconds * 1000)) return exitCodes.ok
      const before = unseenIn(state).length
      state = await redundancy.goOn(call).catch(interrupted(session))
      if (!isUnderWay(state) || unseenIn(state).length < before) await show(session, state)
    }
    return state.step === 'done' && state.lost.length > 0 ? exitCodes.failed : exitCodes.ok
  },
})

/** Whoever stops it in the middle is told that nothing is half done. */
function interrupted(session: Session): (error: unknown) => never {
  return (error) => {
    if (session.signal.aborted)
      session.say('what was copied stays, and relay migrate goes on; relay migrate --stop gives it up')
    throw error
  }
}

const unseenIn = ({ friends }: Migration) => friends.filter(({ isSeen }) => !isSeen)

async function show(session: Session, state: Migration): Promise<void> {
  const names = await session.names()
  const unseen = unseenIn(state).map(({ key }) => names.get(key) ?? key)
  const { step, from, to, copied, unmovedCount, unmoved, lost, foreign, deadlineMs } = state
  const { contracts, withdrawn, notWithdrawn } = state
  const end = `${copied} records were copied to ${to}`
  const waiting = `${end}; waiting until ${timeText(deadlineMs)} for ${unseen.join(', ')}`
  session.print(
    {
      ...{ step, from, to, copied, unmovedCount, unmoved, lost, foreign, unseen },
      ...{ until: deadlineMs, contracts, withdrawn, notWithdrawn },
    },
    oneLine(step === 'done' ? `moved: ${end}` : step === 'stopped' ? `stopped: ${end}` : waiting),
  )
  for (const { key } of unseenIn(state).filter(({ isSilent }) => isSilent && isUnderWay(state)))
    session.say(
      `${names.get(key) ?? key}'s relays do not answer: ask for an identity file of now (relay friend add FILE), or wait less (--until)`,
    )
  for (const { id, error } of unmoved) session.say(oneLine(`${id} could not move: ${error}`))
  for (const id of lost) session.say(`${id} is not listed by ${to}, which signed for it`)
  if (foreign !== null && foreign > 0)
    session.say(
      `${foreign} records on ${from} are not in this home: they are for the device that sent them to move`,
    )
  if (step !== 'done') return
  for (const { contract, state: how, error } of contracts)
    session.say(oneLine(`contract ${contract.slice(0, 16)}: ${error === null ? how : `${how}, ${error}`}`))
  if (unseen.length > 0)
    session.say(
      oneLine(`not seen on the new relay: ${unseen.join(', ')}; give them your identity file (relay id)`),
    )
  if (notWithdrawn !== null)
    session.say(
      oneLine(
        `credit at ${from}, if you have any, is not paid back yet: ${notWithdrawn}; relay withdraw ${from} tries again`,
      ),
    )
  if (withdrawn !== null) session.say(`${withdrawn.satoshis} satoshi were paid back`)
}

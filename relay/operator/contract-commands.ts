/** `relayd drain` and `relayd contracts`. */
import { command, table, timeText } from './command.ts'
import { UsageError } from './usage.ts'

const notOn = 'usage: relayd drain [on | off]'

export const drain = command({
  usage: 'drain [on | off]',
  summary: 'open and renew no contracts any more; those that are open are served to their end',
  words: [0, 1],
  async run({ words: [word = 'on'], print, relay }) {
    if (word !== 'on' && word !== 'off') throw new UsageError(notOn)
    print(await (await relay()).send('drain', { isOn: word === 'on' }), ({ isDraining, open }) => [
      isDraining
        ? `no contract is opened any more; ${open} are not over`
        : `contracts are opened again; ${open} are not over`,
    ])
    return undefined
  },
})

export const contracts = command({
  usage: 'contracts list [--all] | show ID',
  summary: 'escrow contracts: what is owed, paid and settled, and what happens when',
  options: { all: { type: 'boolean' } },
  words: [1, 2],
  async run({ words: [verb, id], values: { all = false }, print, remark, relay }) {
    const reached = await relay()
    if (verb === 'list' && id === undefined) {
      const found = await reached.send('contracts', { isAll: all })
      if (found.length === 0) remark('no contracts')
      else
        print(found, (rows) =>
          table(
            ['contract', 'of', 'state', 'budget', 'owed', 'reserved', 'paid', 'settled', 'next (UTC)'],
            rows.map(({ contract, owner, state, deadline, ...sums }) => [
              contract.slice(0, 16),
              owner.slice(0, 16),
              state,
              ...[sums.budget, sums.owed, sums.reserved, sums.paid, sums.settled].map(String),
              deadline === null ? '-' : timeText(deadline * 1000),
            ]),
          ),
        )
      return undefined
    }
    if (verb !== 'show' || id === undefined) throw new UsageError('usage: relayd contracts list | show ID')
    print(await reached.send('contract', { id }), ({ kept: _, ...facts }) =>
      Object.entries(facts).map(([name, value]) => `${name.padEnd(9)} ${plain(value)}`),
    )
    return undefined
  },
})

/** After a restore. @param open contracts in the backup that were not over */
export const contractsAdvice = (open: number): string[] =>
  open === 0
    ? []
    : [
        `${open} contracts are held: nothing is signed for them, and none pays for new records, until relayd confirm-restore`,
        'what was signed for them after the backup is in the payment log alone, which no backup has:',
        'bring payments.log of the old folder into this one, or name it with --payment-log, before the first start',
      ]

const plain = (value: unknown): string =>
  typeof value === 'object' && value !== null ? JSON.stringify(value) : String(value ?? '-')

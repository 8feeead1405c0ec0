/** `relayd box`. */
import { parseBoxFee } from '../boxes/options.ts'
import { command, table } from './command.ts'
import type { ResultOf } from './operator.ts'
import { UsageError } from './usage.ts'

export const box = command({
  usage: 'box fee BOX=SATOSHI | list',
  summary: 'what deliveries into message boxes cost; what is set here stands above start --box-fee',
  words: [2, 2],
  async run({ words: [noun, word = ''], print, relay }) {
    if (noun !== 'fee') throw new UsageError('usage: relayd box fee BOX=SATOSHI | list')
    if (word === 'list') print(await (await relay()).send('box-fees', {}), lines)
    else {
      const [name, satoshi] = parseBoxFee(word)
      print(await (await relay()).send('set-box-fee', { box: name, satoshi }), lines)
    }
    return undefined
  },
})

const lines = ({ fees }: ResultOf<'box-fees'>): string[] => {
  const rows = Object.entries(fees).map(([name, satoshi]) => [name, String(satoshi)])
  return rows.length === 0
    ? ['no fees are set here; those of --box-fee hold']
    : table(['box', 'satoshi'], rows)
}

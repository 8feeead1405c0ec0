/** `npm run demo [-- CHAPTER]`: the product at work, on this machine alone, in under a minute. */
import { audit } from './audit.ts'
import { boxes } from './boxes.ts'
import { chain } from './chain.ts'
import { choosing } from './choosing.ts'
import { contract } from './contract.ts'
import { credit } from './credit.ts'
import { friends } from './friends.ts'
import { market } from './market.ts'
import { several } from './several.ts'
import { Stage } from './stage.ts'

const chapters = { market, choosing, contract, friends, several, credit, boxes, chain, audit } as const

async function main(name: string): Promise<number> {
  if (!Object.hasOwn(chapters, name)) {
    process.stderr.write(`there is no chapter ${name}; there are: ${Object.keys(chapters).join(', ')}\n`)
    return 2
  }
  try {
    await Stage.perform(chapters[name as keyof typeof chapters]) // it is one of them
    return 0
  } catch (error) {
    process.stderr.write(`\n${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
    return 1
  }
}

process.exitCode = await main(process.argv[2] ?? 'market')

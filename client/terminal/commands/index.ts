/** Every command, in the order of the help. */
import type { Command } from '../command.ts'
import { accountCommand } from './account.ts'
import { agentCommand } from './agent.ts'
import { auditCommand } from './audit.ts'
import { channelCommand } from './channel.ts'
import { checkCommand, repairCommand } from './check.ts'
import { contractCommand } from './contract.ts'
import { deleteCommand } from './delete.ts'
import { depositCommand } from './deposit.ts'
import { feedCommand } from './feed.ts'
import { followCommand, unfollowCommand } from './follow.ts'
import { friendCommand } from './friend.ts'
import { idCommand } from './id.ts'
import { inboxCommand } from './inbox.ts'
import { initCommand } from './init.ts'
import { listenCommand } from './listen.ts'
import { marketCommand } from './market.ts'
import { migrateCommand } from './migrate.ts'
import { mailCommand } from './mail.ts'
import { outboxCommand } from './outbox.ts'
import { pingCommand } from './ping.ts'
import { postCommand } from './post.ts'
import { pullCommand } from './pull.ts'
import { quoteCommand } from './quote.ts'
import { relaysCommand } from './relays.ts'
import { sendCommand } from './send.ts'
import { syncCommand } from './sync.ts'
import { walletCommand } from './wallet.ts'
import { withdrawCommand } from './withdraw.ts'

export const commands: readonly Command[] = [
  initCommand,
  idCommand,
  friendCommand,
  relaysCommand,
  checkCommand,
  repairCommand,
  migrateCommand,
  sendCommand,
  pullCommand,
  listenCommand,
  inboxCommand,
  mailCommand,
  outboxCommand,
  deleteCommand,
  syncCommand,
  postCommand,
  followCommand,
  unfollowCommand,
  feedCommand,
  channelCommand,
  quoteCommand,
  accountCommand,
  auditCommand,
  walletCommand,
  depositCommand,
  withdrawCommand,
  contractCommand,
  agentCommand,
  marketCommand,
  pingCommand,
]

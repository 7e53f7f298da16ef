export { sqlInbox, type SqlInbox, type SqlInboxOptions } from './inbox.js'

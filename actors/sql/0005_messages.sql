-- Which of pgflow's messages are about a proposal: its story is found by number, however long the history is.
CREATE TABLE evolution_messages (
  proposal_id uuid NOT NULL,
  message_id  bigint NOT NULL,
  PRIMARY KEY (proposal_id, message_id)
);

//! Books kept by the database itself, beside the system: every message that was ever published, every state that a
//! proposal was ever in. What the system says of itself is held against them.

use tokio_postgres::Client;

use crate::support::query_text;

/// A row in the books is committed with what it records, or not at all.
const TRIGGERS: &str = "
CREATE TABLE kept_messages (message_id uuid PRIMARY KEY, place text NOT NULL);
CREATE FUNCTION keep_message() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO public.kept_messages VALUES (NEW.message_id, TG_TABLE_NAME) ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$;
CREATE TRIGGER keep AFTER INSERT ON pgflow_ready FOR EACH ROW EXECUTE FUNCTION keep_message();
CREATE TRIGGER keep AFTER INSERT ON pgflow_scheduled FOR EACH ROW EXECUTE FUNCTION keep_message();
CREATE TRIGGER keep AFTER INSERT ON pgflow_parked FOR EACH ROW EXECUTE FUNCTION keep_message();

CREATE TABLE kept_states (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, proposal_id uuid NOT NULL,
  instance_id text NOT NULL, target_key text, state text NOT NULL, holds boolean NOT NULL);
CREATE FUNCTION keep_state() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO public.kept_states (proposal_id, instance_id, target_key, state, holds)
  VALUES (NEW.proposal_id, NEW.instance_id, NEW.target_key, NEW.status,
    NEW.status IN ('sent_for_consensus', 'consensus_reached', 'executing') OR (NEW.status = 'applied' AND NEW.kept_at IS NULL));
  RETURN NULL;
END $$;
CREATE TRIGGER keep AFTER INSERT OR UPDATE OF status, kept_at ON evolution_proposals
  FOR EACH ROW EXECUTE FUNCTION keep_state();";

/// Opens the books.
pub async fn open(client: &Client) {
    client.batch_execute(TRIGGERS).await.unwrap();
}

/// How many changes of state there were.
pub async fn states(client: &Client) -> usize {
    number(client, "SELECT count(*) FROM kept_states").await
}

/// The one number that a statement answers.
pub async fn number(client: &Client, sql: &str) -> usize {
    query_text(client, sql).await[0].parse().unwrap()
}

/// Timers of the system itself, which end only with it: the next look, the next batch, the next midnight.
const CHAINS: &str = "'check_health', 'flush_metrics', 'run_learning'";

/// Messages that are not at their end.
pub async fn unfinished(client: &Client) -> Vec<String> {
    let sql = format!(
        "SELECT concat_ws(' ', kind, target, status, count(*)) FROM pgflow_messages \
         WHERE status NOT IN ('done', 'dead') AND kind NOT IN ({CHAINS}) GROUP BY kind, target, status"
    );
    query_text(client, &sql).await
}

/// Every message in exactly one table, and every published one there.
pub async fn lost_or_doubled(client: &Client) -> Vec<String> {
    let wrong = "\
        WITH found AS (SELECT message_id, count(*) AS n, string_agg(kind || ' ' || status, ', ') AS where_it_is \
          FROM pgflow_messages GROUP BY message_id) \
        SELECT concat_ws(' ', 'doubled:', message_id, where_it_is) FROM found WHERE n > 1 \
        UNION ALL SELECT concat_ws(' ', 'lost:', message_id, place) FROM kept_messages k \
          WHERE NOT EXISTS (SELECT FROM found f WHERE f.message_id = k.message_id) \
        UNION ALL SELECT concat_ws(' ', 'from nowhere:', message_id, where_it_is) FROM found f \
          WHERE NOT EXISTS (SELECT FROM kept_messages k WHERE k.message_id = f.message_id)";
    query_text(client, wrong).await
}

/// Where two changes held one target at a time.
pub async fn held_twice(client: &Client) -> Vec<String> {
    // Of each change of state: who else held the target just then?
    let wrong = "\
        SELECT concat_ws(' ', a.instance_id, a.target_key, a.proposal_id, b.proposal_id) FROM kept_states a \
        JOIN LATERAL (SELECT DISTINCT ON (proposal_id) proposal_id, holds FROM kept_states b \
          WHERE b.instance_id = a.instance_id AND b.target_key = a.target_key AND b.proposal_id <> a.proposal_id AND b.n < a.n \
          ORDER BY proposal_id, n DESC) b ON b.holds \
        WHERE a.holds";
    query_text(client, wrong).await
}

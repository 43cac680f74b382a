-- A budget of an organisation counts the calls of all its workspaces, so that there is one of a period.
-- It stands in a workspace of its own, `*`. Where several workspaces had one, the strictest limit holds,
-- and what any of them has spent or held in the newest window is spent.

INSERT INTO budgets (organisation, workspace, subject, period, money_limit, token_limit,
                     window_start, money_spent, money_held, tokens_spent, tokens_held, alerted)
SELECT b.organisation, '*', b.subject, b.period, MIN(b.money_limit), MIN(b.token_limit),
       MAX(b.window_start),
       SUM(CASE WHEN b.window_start = newest.at THEN b.money_spent + b.money_held ELSE 0 END), 0,
       SUM(CASE WHEN b.window_start = newest.at THEN b.tokens_spent + b.tokens_held ELSE 0 END), 0, 0
FROM budgets b
JOIN (SELECT organisation, period, MAX(window_start) AS at FROM budgets
      WHERE subject = 'organisation' GROUP BY organisation, period) newest
     ON newest.organisation = b.organisation AND newest.period = b.period
WHERE b.subject = 'organisation'
GROUP BY b.organisation, b.subject, b.period;

DELETE FROM budget_holds WHERE subject = 'organisation';
DELETE FROM budgets WHERE subject = 'organisation' AND workspace <> '*';
